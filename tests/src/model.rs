//! What must hold of an app, whatever is done to it, in whatever order.
//!
//! [`plan`] makes a sequence of [`Op`]s of a seed. [`World`] says for each what a driver has to do,
//! and what must come of it: a [`Step`]. When the host is quiet again, [`World::saw`] compares what
//! there is with what must be. Nothing of that needs a host; [`driver`] does it to the real program.
//!
//! It is a model of an app whose host loads changes at once, compares no answers (`guard` is zero)
//! and keeps state in a directory, with the settings of [`settings`].

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
};

mod app;
pub mod driver;
mod op;
mod step;
#[cfg(test)]
mod tests;

pub use app::{KIND, ODD, TICK, check_calls, entries_of, schedules_of, settings, version_of};
pub use op::{Fault, Op, plan, shortest};
pub use step::{Act, Command, End, File, Fresh, Seen, Step};

/// Versions are counted from 1, in the order in which they were made.
pub type Version = u64;

/// What must hold, and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// So many artifacts are kept, the one that serves among them.
const KEPT: usize = 3;

/// An app and its file, and what its host must know of it.
#[derive(Clone, Debug)]
pub struct World {
    /// The operator has named it: what is known of it outlives its file.
    named: bool,
    file: File,
    serving: Option<Version>,
    /// The generation that was seen last, in this run of the host.
    generation: u64,
    newest: Version,
    /// What has served, the last at the end.
    kept: VecDeque<Version>,
    /// What was rolled back, and nobody has asked for since.
    bad: BTreeSet<Version>,
    pin: Option<Version>,
    /// The file has changed while it was pinned.
    noted: bool,
    count: u64,
    /// The directory has a count that is not lower, since the driver has seen it written.
    stored: u64,
    /// The count that the last generation handed over had, or more.
    handed: u64,
    /// There is state: some generation has gone.
    has_state: bool,
}

impl World {
    /// An app whose file is not there yet. `named`: the operator has said something of it.
    #[must_use]
    pub fn new(named: bool) -> Self {
        Self {
            named,
            file: File::Absent,
            serving: None,
            generation: 0,
            newest: 0,
            kept: VecDeque::new(),
            bad: BTreeSet::new(),
            pin: None,
            noted: false,
            count: 0,
            stored: 0,
            handed: 0,
            has_state: false,
        }
    }

    /// The version that must be serving when the host is quiet.
    #[must_use]
    pub fn serving(&self) -> Option<Version> {
        self.serving
    }

    /// The count that the app must have when the host is quiet.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether a new version would be loaded at once, and be handed the state of the one that
    /// serves.
    #[must_use]
    pub fn loads_at_once(&self) -> bool {
        self.serving.is_some() && self.pin.is_none()
    }

    /// What is to be done for `op`, and what must come of it. The world is then as it must be after
    /// that.
    pub fn apply(&mut self, op: Op) -> Step {
        let before = self.serving;
        let (act, end) = match op {
            Op::Write(way) => {
                self.newest += 1;
                self.put(File::Whole(self.newest), |file| Act::Put(file, way))
            }
            Op::Break(fault, way) => {
                // Without one it does not fail.
                let fault = match fault {
                    Fault::RefusesState if !self.has_state && before.is_none() => Fault::SetupFails,
                    fault => fault,
                };
                self.put(File::Broken(fault), |file| Act::Put(file, way))
            }
            Op::Fix(way) if self.newest > 0 => {
                self.put(File::Whole(self.newest), |file| Act::Put(file, way))
            }
            Op::Restore(back) if self.newest > back => {
                self.put(File::Whole(self.newest - back), Act::PutBack)
            }
            Op::Touch if self.file != File::Absent => self.put(self.file, |_| Act::Touch),
            Op::Remove if self.file != File::Absent => {
                self.file = File::Absent;
                (Act::Remove, self.changed())
            }
            Op::Fix(_) | Op::Restore(_) | Op::Touch | Op::Remove => (Act::Nothing, End::Nothing),
            Op::RollBack => (Act::Ask(Command::RollBack), self.roll_back()),
            Op::Pin(back) => self.pin(back),
            Op::Unpin => (Act::Ask(Command::Unpin), self.unpin()),
            Op::Reload => (Act::Ask(Command::Reload), self.reload()),
            Op::Count(_) if before.is_none() => (Act::Nothing, End::Nothing),
            Op::Count(times) => (Act::Count(times), End::Nothing),
            Op::Kill => self.kill(),
        };
        Step::new(op, act, end, before, self.serving)
    }

    fn put(&mut self, file: File, act: impl FnOnce(File) -> Act) -> (Act, End) {
        self.file = file;
        (act(file), self.changed())
    }

    /// The file is another, or gone.
    fn changed(&mut self) -> End {
        if self.pin.is_some() {
            self.noted = true;
            return End::Noted;
        }
        match self.file {
            File::Absent => self.remove(),
            File::Whole(version) if !self.bad.contains(&version) => self.serve(version),
            // What was rolled back is not taken again by itself.
            File::Whole(_) | File::Broken(_) => End::Refused,
        }
    }

    fn serve(&mut self, version: Version) -> End {
        self.hand_over();
        self.kept.retain(|kept| *kept != version);
        self.kept.push_back(version);
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        self.serving = Some(version);
        End::Serving
    }

    /// Somebody has asked for that version.
    fn serve_asked(&mut self, version: Version) -> End {
        self.bad.remove(&version);
        self.serve(version)
    }

    /// What serves leaves its state, for the next or for the time when there is one.
    fn hand_over(&mut self) {
        if self.serving.take().is_some() {
            self.handed = self.count;
            self.has_state = true;
        }
    }

    fn remove(&mut self) -> End {
        let served = self.serving.is_some();
        self.hand_over();
        // Who puts it there again wants it.
        self.bad.clear();
        if !self.named {
            self.kept.clear();
            // Generations are counted anew, too.
            self.generation = 0;
        }
        if served { End::Unmounted } else { End::Nothing }
    }

    /// What served before what serves now.
    fn before(&self) -> Option<Version> {
        let mut kept = self.kept.iter().rev();
        // What was rolled back is not gone back to.
        kept.find(|kept| Some(**kept) != self.serving && !self.bad.contains(kept))
            .copied()
    }

    fn roll_back(&mut self) -> End {
        let (Some(serving), Some(before), None) = (self.serving, self.before(), self.pin) else {
            return End::Denied;
        };
        let end = self.serve_asked(before);
        self.bad.insert(serving);
        end
    }

    fn pin(&mut self, back: usize) -> (Act, End) {
        let wanted = match back {
            0 => self.serving,
            back => self.kept.iter().rev().nth(back).copied(),
        };
        // An app that nobody has named is forgotten with its file.
        let known = self.named || self.file != File::Absent || self.serving.is_some();
        let end = match wanted.filter(|_| known) {
            None => End::Denied,
            Some(version) => {
                self.pin = Some(version);
                if self.serving == Some(version) {
                    End::Done
                } else {
                    self.serve_asked(version)
                }
            }
        };
        if back > 0 && wanted.is_none() {
            // There is no digest to name.
            return (Act::Nothing, End::Nothing);
        }
        let named = wanted.filter(|_| back > 0);
        (Act::Ask(Command::Pin(named)), end)
    }

    fn unpin(&mut self) -> End {
        let known = self.named || self.file != File::Absent || self.serving.is_some();
        let pinned = self.pin.take().is_some();
        if !known {
            return End::Denied;
        }
        if pinned && std::mem::take(&mut self.noted) {
            return self.changed();
        }
        End::Done
    }

    fn reload(&mut self) -> End {
        match (self.pin, self.file) {
            (Some(pin), _) => self.serve(pin),
            (None, File::Whole(version)) => self.serve_asked(version),
            (None, File::Absent | File::Broken(_)) => End::Denied,
        }
    }

    /// All that the host knew is gone, but for what is in files.
    fn kill(&mut self) -> (Act, End) {
        self.newest += 1;
        self.file = File::Whole(self.newest);
        self.kept = [self.newest].into();
        self.bad.clear();
        (self.pin, self.noted) = (None, false);
        self.generation = 0;
        self.has_state |= self.serving.is_some();
        self.serving = Some(self.newest);
        (Act::Kill(self.newest), End::Restarted)
    }

    /// Takes note of requests that changed the app's state, each by one, since [`apply`][Self::apply]:
    /// their answers, in any order.
    ///
    /// # Errors
    /// When an answer is missing, or came twice: state was lost, or there were two of it.
    pub fn counted(&mut self, mut answers: Vec<u64>) -> Result<(), Violation> {
        answers.sort_unstable();
        let first = self.count + 1;
        let last = self.count + answers.len() as u64;
        if answers.iter().copied().ne(first..=last) {
            return Err(Violation(format!(
                "counts {answers:?} in the place of {first} to {last}: state was lost or doubled"
            )));
        }
        self.count = last;
        Ok(())
    }

    /// Takes note that the generation that went last has been stopped: its state is in its file.
    pub fn retired(&mut self) {
        self.stored = self.handed;
    }

    /// Compares what there is with what must be, once the host is quiet: what it had to load is
    /// loaded, and what is not to serve any more has been stopped.
    ///
    /// # Errors
    /// When something is not as it must be.
    pub fn saw(&mut self, step: &Step, seen: &Seen) -> Result<(), Violation> {
        step.check(seen, self.generation)?;
        if let Some(generation) = seen.generation {
            self.generation = generation;
        }
        let Some(count) = seen.count else {
            return Ok(());
        };
        let lowest = match step.end {
            // Whatever had been written by then.
            End::Restarted => self.stored,
            _ => self.count,
        };
        if !(lowest..=self.count).contains(&count) {
            let expected = format!("{lowest} to {}", self.count);
            return Err(Violation(format!(
                "count {count} in the place of {expected}"
            )));
        }
        if step.end == End::Restarted {
            (self.count, self.stored, self.handed) = (count, count, count);
        }
        Ok(())
    }
}
