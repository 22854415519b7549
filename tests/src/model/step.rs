//! What is done to an app, and what must come of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Op, Version, Violation, entries_of, schedules_of};
use crate::deploy::Way;

/// What is in the place of an app's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Absent,
    Whole(Version),
    Broken(Fault),
}

/// What a driver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// There is nothing to be done.
    Nothing,
    /// Put a file in place, in that way.
    Put(File, Way),
    /// Put a file in place that has the time it had when it was put there first.
    PutBack(File),
    Touch,
    Remove,
    /// Give the host that command, and wait for its answer.
    Ask(Command),
    /// Send so many requests that change the state.
    Count(u64),
    /// Put that version in place, kill the host while it loads it, and start it again.
    Kill(Version),
}

/// A command for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    RollBack,
    /// `None`: what serves.
    Pin(Option<Version>),
    Unpin,
    Reload,
}

/// How a step ends: what a driver has to wait for before it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing to wait for.
    Nothing,
    /// A fresh generation serves.
    Serving,
    /// The file is refused, and what served serves on.
    Refused,
    /// The app is gone.
    Unmounted,
    /// The change is noted, and nothing is loaded.
    Noted,
    /// The command was done, and what serves is the generation that served.
    Done,
    /// The command was refused, and what served serves on.
    Denied,
    /// The host has been started again, and is ready.
    Restarted,
}

/// Whether the generation that serves is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    Yes,
    No,
}

/// An operation, and what must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub op: Op,
    pub act: Act,
    pub end: End,
    /// What served before.
    pub before: Option<Version>,
    /// What must serve then.
    pub after: Option<Version>,
}

/// What there is, when the host is quiet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The version that answers; `None`: nothing does.
    pub version: Option<Version>,
    /// Its generation.
    pub generation: Option<u64>,
    /// What it has counted.
    pub count: Option<u64>,
    /// What is registered under [`KIND`][super::KIND].
    pub registered: BTreeMap<String, u64>,
    /// The names of the app's schedules.
    pub schedules: BTreeSet<String>,
}

impl Step {
    pub(super) fn new(
        op: Op,
        act: Act,
        end: End,
        before: Option<Version>,
        after: Option<Version>,
    ) -> Self {
        Self {
            op,
            act,
            end,
            before,
            after,
        }
    }

    /// Whether the generation that serves then is another one than before.
    #[must_use]
    pub fn fresh(&self) -> Fresh {
        match self.end {
            End::Serving | End::Restarted => Fresh::Yes,
            _ => Fresh::No,
        }
    }

    /// Checks what one client got while it asked again and again from before the step until it had
    /// ended: versions, and `None` where nothing answered.
    ///
    /// # Errors
    /// When there was no answer though something served, or one of a version that had no part in
    /// it, or the version before answered after the version then.
    pub fn check_answers(&self, answers: &[Option<Version>]) -> Result<(), Violation> {
        let wrong = |what: &str| Err(Violation(format!("{what}: {answers:?} in {self:?}")));
        let mut next = self.before;
        for answer in answers {
            // A host that was killed answers nothing, for a while.
            let away = answer.is_none() && self.end == End::Restarted;
            if away || *answer == next {
                continue;
            }
            if *answer == self.after {
                next = self.after;
            } else if *answer == self.before {
                return wrong("what served before answered again");
            } else if answer.is_none() {
                return wrong("nothing answered");
            } else {
                return wrong("a version answered that has no part in it");
            }
        }
        Ok(())
    }

    /// `generation`: what was seen before the step.
    pub(super) fn check(&self, seen: &Seen, generation: u64) -> Result<(), Violation> {
        let wrong = |what: String| Err(Violation(format!("{what} after {self:?}: {seen:?}")));
        if seen.version != self.after {
            return wrong(format!("{:?} must serve", self.after));
        }
        let Some(version) = self.after else {
            if !seen.registered.is_empty() || !seen.schedules.is_empty() {
                return wrong("what nothing serves is registered".to_owned());
            }
            return Ok(());
        };
        let (Some(now), Some(_)) = (seen.generation, seen.count) else {
            return wrong("what serves has a generation and a count".to_owned());
        };
        match self.fresh() {
            Fresh::Yes if now <= generation => {
                return wrong(format!("a generation after {generation} must serve"));
            }
            Fresh::No if now != generation => {
                return wrong(format!("generation {generation} must still serve"));
            }
            Fresh::Yes | Fresh::No => {}
        }
        if seen.registered != entries_of(version) {
            return wrong(format!("registered must be {:?}", entries_of(version)));
        }
        if seen.schedules != schedules_of(version) {
            return wrong(format!("scheduled must be {:?}", schedules_of(version)));
        }
        Ok(())
    }
}
