//! Places that are emptied, so that a worker of another crew, or the next of this one, can come
//! where no two may be at the same time.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Muster;
use crate::loader::StopReason;

impl Muster {
    /// A worker goes, and its place stays empty; `done` hears when it is gone.
    pub(super) fn vacate(&mut self, number: u32, done: oneshot::Sender<()>) {
        self.vacating.push((number, done));
        self.empty(number);
    }

    /// A worker goes, and its place stays empty.
    pub(super) fn empty(&mut self, number: u32) {
        let mut places = self.places.iter_mut();
        let Some(place) = places.find(|place| place.number == number) else {
            return;
        };
        place.vacant = true;
        place.asleep = false;
        place.awaits_end = false;
        place.renewal = None;
        place.start.cancel();
        if let Some(living) = place.living.take() {
            self.set.remove(&living.worker);
            tracing::info!(
                event = "worker-makes-room",
                group = self.plan.group.as_str(),
                worker = number,
                pid = living.worker.pid,
                "worker {number} (pid {}) finishes its requests, and makes room",
                living.worker.pid,
            );
            self.end(living, StopReason::Reload);
        }
    }

    /// Empty places get workers.
    pub(super) fn refill(&mut self) {
        for at in 0..self.places.len() {
            if self.places[at].number < self.size {
                self.fill(at);
            }
        }
    }

    /// If the place is empty, it gets a worker.
    pub(super) fn fill(&mut self, at: usize) {
        let place = &mut self.places[at];
        if std::mem::take(&mut place.vacant) && !place.starting {
            let number = place.number;
            self.begin(number, Duration::ZERO);
        }
    }

    /// A start was given up: if a worker is wanted there again by now, another is begun.
    pub(super) fn begin_again(&mut self, at: usize) {
        let place = &self.places[at];
        if !self.is_over() && !place.vacant {
            self.begin(place.number, Duration::ZERO);
        }
    }

    /// A worker that must be gone before its successor starts.
    pub(super) fn replace_alone(&mut self, at: usize, reason: StopReason) {
        let place = &mut self.places[at];
        let Some(living) = place.living.take() else {
            return;
        };
        let number = place.number;
        self.set.remove(&living.worker);
        self.end(living, reason);
        self.begin(number, Duration::ZERO);
    }

    /// Starts those for whom the one that has just ended has made room.
    pub(super) fn follow(&mut self, number: u32) {
        let mut places = self.places.iter_mut();
        let place = places.find(|place| place.number == number);
        if place.is_some_and(|place| std::mem::take(&mut place.awaits_end)) && !self.is_over() {
            self.begin(number, Duration::ZERO);
        }
    }

    pub(super) fn tell_who_waits_for_room(&mut self) {
        let is_there = |number: u32| {
            let mut places = self.places.iter();
            let starting = places.any(|place| place.number == number && place.starting);
            starting || self.ending.iter().any(|it| it.worker.number == number)
        };
        let gone = self
            .vacating
            .extract_if(.., |(number, _)| !is_there(*number));
        for (_, done) in gone {
            // Its successor may want what it has left.
            self.keeper.tell(done);
        }
    }
}
