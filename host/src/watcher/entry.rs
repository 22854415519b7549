//! One watched path: what was last reported of it, and what is being waited for.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use crate::artifact::Fingerprint;

/// A file that no event calls finished is taken when nothing happened to it for so long: longer
/// than a linker or a copy on a local disk pauses.
pub(super) const QUIET: Duration = Duration::from_millis(200);
/// The same for a file that was seen being written. Its writer will close it and that will be
/// seen, unless it never closes it; a copy over a slow network may pause for long.
pub(super) const STALLED: Duration = Duration::from_secs(2);
/// A path may be missing for so long before it counts as removed: deploys and linkers that remove
/// first and write then need a while in between.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// File systems note times in steps of up to 10 ms: two writes within one have the same times.
const CLOCK_STEP: Duration = Duration::from_millis(20);

/// What is known about a path's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It is done: it closed the file, renamed it into place, or switched a link.
    Done,
    /// There may be another file than before; whether it is complete nobody says.
    Appeared,
    /// It writes.
    Written,
    /// It set times or permissions.
    Touched,
}

/// What a path leads to now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    /// A file, under so many names.
    Present {
        fingerprint: Fingerprint,
        names: u64,
    },
    /// Nothing, or something that is not a file.
    Missing,
    /// That cannot be told: the right to look is missing, or the disk fails.
    Unknown,
}

impl Look {
    pub(super) fn at(path: &Path) -> Self {
        const ENDLESS_LINKS: i32 = rustix::io::Errno::LOOP.raw_os_error();
        match path.metadata() {
            Ok(found) if found.is_file() => Self::Present {
                fingerprint: Fingerprint::from(&found),
                names: found.nlink(),
            },
            Ok(_) => Self::Missing,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
                _ if error.raw_os_error() == Some(ENDLESS_LINKS) => Self::Missing,
                _ => Self::Unknown,
            },
        }
    }
}

/// What is to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Changed,
    Removed,
}

/// One watched path.
#[derive(Debug)]
pub(super) struct Entry {
    reported: Option<Reported>,
    phase: Phase,
}

#[derive(Debug)]
struct Reported {
    fingerprint: Fingerprint,
    /// Whether it was reported so soon after a write that another one could have the same times.
    is_young: bool,
    /// Whether it could not be read, so that a mere `chmod` is worth another try.
    is_unread: bool,
}

#[derive(Debug)]
enum Phase {
    /// Nothing is waited for.
    Settled,
    /// Its writer may be busy; `seen` is what it was when something last happened to it.
    Busy {
        seen: Fingerprint,
        wrote: bool,
        until: Instant,
    },
    /// It was there, and is not.
    Missing { until: Instant },
}

impl Entry {
    /// A path of which what is there now is known to everybody.
    pub(super) fn known(look: Look) -> Self {
        let reported = match look {
            Look::Present { fingerprint, .. } => {
                // Not young: events of writes before now may still come, and mean nothing.
                Some(Reported {
                    fingerprint,
                    is_young: false,
                    is_unread: false,
                })
            }
            Look::Missing | Look::Unknown => None,
        };
        Self {
            reported,
            phase: Phase::Settled,
        }
    }

    /// A path that nobody knows of.
    pub(super) fn unknown() -> Self {
        Self {
            reported: None,
            phase: Phase::Settled,
        }
    }

    /// What was reported last could not be read.
    pub(super) fn unread(&mut self) {
        if let Some(reported) = &mut self.reported {
            reported.is_unread = true;
        }
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Settled => None,
            Phase::Busy { until, .. } | Phase::Missing { until } => Some(until),
        }
    }

    /// Whether nothing was reported and nothing is waited for.
    pub(super) fn is_void(&self) -> bool {
        self.reported.is_none() && matches!(self.phase, Phase::Settled)
    }

    /// Something happened.
    pub(super) fn on(&mut self, evidence: Evidence, look: Look, now: Instant) -> Option<Outcome> {
        let (fingerprint, names) = match look {
            Look::Present { fingerprint, names } => (fingerprint, names),
            Look::Missing => return self.missing(now),
            Look::Unknown => return None,
        };
        let wrote = matches!(self.phase, Phase::Busy { wrote: true, .. });
        let idle = matches!(self.phase, Phase::Settled);
        match evidence {
            Evidence::Written => self.wait(fingerprint, true, now),
            // Linkers make a file, and write to it later.
            _ if fingerprint.size == 0 => self.wait(fingerprint, wrote, now),
            Evidence::Done => return self.conclude(fingerprint, wrote),
            Evidence::Touched if idle => return self.conclude(fingerprint, false),
            // A file with a second name was complete before it got it.
            Evidence::Appeared if names > 1 || is_old(&fingerprint) => {
                return self.conclude(fingerprint, wrote);
            }
            Evidence::Appeared | Evidence::Touched => self.wait(fingerprint, wrote, now),
        }
        None
    }

    /// It is looked at without an event. Who waits for it goes on waiting.
    pub(super) fn poll(&mut self, look: Look, now: Instant) -> Option<Outcome> {
        match (&self.phase, look) {
            (Phase::Settled, Look::Present { fingerprint, .. })
                if self
                    .reported
                    .as_ref()
                    .is_some_and(|it| it.fingerprint == fingerprint) =>
            {
                None
            }
            (Phase::Settled, Look::Present { fingerprint, .. }) if !is_old(&fingerprint) => {
                self.wait(fingerprint, false, now);
                None
            }
            (Phase::Settled, _) => self.on(Evidence::Appeared, look, now),
            _ => None,
        }
    }

    /// The deadline has come.
    pub(super) fn expire(&mut self, look: Look, now: Instant) -> Option<Outcome> {
        match (&self.phase, look) {
            (Phase::Settled, _) => None,
            (Phase::Missing { .. }, Look::Missing) => {
                *self = Self::unknown();
                Some(Outcome::Removed)
            }
            (Phase::Missing { .. }, Look::Present { .. }) => self.on(Evidence::Appeared, look, now),
            (Phase::Busy { .. }, Look::Missing) => self.missing(now),
            (&Phase::Busy { seen, wrote, .. }, Look::Present { fingerprint, .. }) => {
                if seen == fingerprint {
                    return self.conclude(fingerprint, wrote);
                }
                self.wait(fingerprint, wrote, now);
                None
            }
            // The next event is to tell; asking again and again would not.
            (_, Look::Unknown) => {
                self.phase = Phase::Settled;
                None
            }
        }
    }

    fn missing(&mut self, now: Instant) -> Option<Outcome> {
        match self.phase {
            Phase::Missing { .. } => {}
            _ if self.reported.is_some() => self.phase = Phase::Missing { until: now + GRACE },
            _ => self.phase = Phase::Settled,
        }
        None
    }

    fn wait(&mut self, seen: Fingerprint, wrote: bool, now: Instant) {
        // Setting the mtime alone comes as a write too (Linux's `fsnotify_change`), and nothing is
        // closed after it. A write leaves both times the same.
        let writing = wrote && seen.mtime_ns == seen.ctime_ns;
        let until = now + if writing { STALLED } else { QUIET };
        self.phase = Phase::Busy { seen, wrote, until };
    }

    fn conclude(&mut self, fingerprint: Fingerprint, wrote: bool) -> Option<Outcome> {
        self.phase = Phase::Settled;
        if !self.is_change(&fingerprint, wrote) {
            return None;
        }
        let is_young = age(&fingerprint) < CLOCK_STEP;
        self.reported = Some(Reported {
            fingerprint,
            is_young,
            is_unread: false,
        });
        Some(Outcome::Changed)
    }

    fn is_change(&self, new: &Fingerprint, wrote: bool) -> bool {
        let Some(Reported {
            fingerprint: old,
            is_young,
            is_unread,
        }) = &self.reported
        else {
            return true;
        };
        if !new.same_but_for_ctime(old) {
            return true;
        }
        if *is_unread && new != old {
            return true;
        }
        // Written to, and the mtime set back, or too soon after the last time for it to differ.
        wrote && (new != old || *is_young)
    }
}

fn is_old(fingerprint: &Fingerprint) -> bool {
    age(fingerprint) >= QUIET
}

/// How long ago a file was touched in any way. Nobody can set the ctime, so that a file that is
/// being written is young.
fn age(fingerprint: &Fingerprint) -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let touched = Duration::from_nanos(u64::try_from(fingerprint.ctime_ns).unwrap_or_default());
    now.saturating_sub(touched)
}

#[cfg(test)]
mod tests;
