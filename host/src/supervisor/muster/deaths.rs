//! Workers that die.

use std::time::Duration;

use super::{Living, Muster, Place};
use crate::{
    supervisor::backoff::MOST,
    workers::{About, Death, Worker},
};

impl Muster {
    pub(super) fn died(&mut self, serial: u64, death: Death) {
        self.calls.died(serial, &death.to_string());
        self.entrances.stood_aside(serial);
        self.counting.died(serial);
        if let Some(at) = self
            .ending
            .iter()
            .position(|living| living.serial == serial)
        {
            let living = self.ending.swap_remove(at);
            let held = self.bury(&living, &death);
            if held.is_empty() && death == Death::Exited(0) {
                tracing::info!(
                    event = "worker-ended",
                    group = self.plan.group.as_str(),
                    worker = living.worker.number,
                    pid = living.worker.pid,
                    "worker {} (pid {}) has ended",
                    living.worker.number,
                    living.worker.pid,
                );
            } else {
                self.tell_of(&living.worker, &death, &held);
            }
            self.bequeath(serial, living.worker.number);
            return self.follow(living.worker.number);
        }
        let Some(at) = self.place_of(serial) else {
            return;
        };
        let place = &mut self.places[at];
        let Some(living) = place.living.take() else {
            return;
        };
        let number = place.number;
        let wait = place.backoff.died(Some(living.ready));
        let held = self.bury(&living, &death);
        self.tell_of(&living.worker, &death, &held);
        self.bequeath(serial, number);
        let place = &mut self.places[at];
        place.renewal = None;
        if !place.starting {
            self.again(number, wait);
        }
    }

    /// What it held.
    fn bury(&self, living: &Living, death: &Death) -> Vec<About> {
        let mut held = Vec::new();
        for worker in living.former.iter().chain([&living.worker]) {
            held.extend(worker.died(death.clone()));
            self.set.remove(worker);
        }
        self.sum_up();
        held
    }

    fn tell_of(&self, worker: &Worker, death: &Death, held: &[About]) {
        let requests: Vec<String> = held.iter().map(ToString::to_string).collect();
        let remedy = match death {
            Death::OutOfMemory => {
                "raise `memory-limit` of the group, or find what its apps keep; its requests were \
                 answered with 502"
            }
            _ => "see what it wrote to the log before; its requests were answered with 502",
        };
        tracing::error!(
            event = "worker-died",
            group = self.plan.group.as_str(),
            worker = worker.number,
            pid = worker.pid,
            death = %death,
            held = held.len(),
            requests = requests.join("; "),
            remedy,
            "worker {} (pid {}) {death}, with {} requests",
            worker.number,
            worker.pid,
            held.len(),
        );
    }

    /// Starts a worker after that time; `None`: not again.
    pub(super) fn again(&mut self, number: u32, wait: Option<Duration>) {
        if self.is_over() {
            return;
        }
        if let Some(wait) = wait {
            return self.begin(number, wait);
        }
        tracing::error!(
            event = "worker-given-up",
            group = self.plan.group.as_str(),
            worker = number,
            remedy = "mend the app, or what it needs; a new artifact or `replug reload` starts new \
                      workers",
            "worker {number} died {MOST} times before it was ready, and is not started again",
        );
        if !self.places.iter().any(Place::is_filled) {
            self.set.shut("its workers die before they are ready");
            // Their callers are told.
            self.run_put_off();
        }
    }
}
