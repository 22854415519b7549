//! Workers that have done their part, sleep or hang.

use std::time::{Duration, Instant};

use super::Muster;
use crate::{channel::Order, loader::StopReason, supervisor::wear::Due};

impl Muster {
    /// Looks at each worker, whether it has done its part, sleeps or hangs.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        for at in 0..self.places.len() {
            let others_serve =
                self.places.iter().enumerate().all(|(other, place)| {
                    other == at || place.living.is_some() || !place.is_filled()
                });
            let place = &mut self.places[at];
            let number = place.number;
            let (Some(living), None) = (&mut place.living, place.renewal) else {
                continue;
            };
            let (taken, holds) = living.load();
            let worker = &living.worker;
            match living.wear.look(&self.plan.options, taken, holds, now) {
                Due::Nothing => {}
                Due::Question(turn) => drop(living.orders.send(Order::Turn { turn })),
                // One after the other, so that requests do not wait for all of them.
                Due::Renewal(reason) if self.plan.alone => {
                    if others_serve {
                        self.replace_alone(at, reason);
                    }
                }
                Due::Renewal(reason) => {
                    place.renewal = Some(reason);
                    if !place.starting {
                        self.begin(number, Duration::ZERO);
                    }
                }
                Due::Sleep => self.send_to_sleep(at),
                Due::Hangs => {
                    let held = worker.held();
                    let requests: Vec<String> = held.iter().map(ToString::to_string).collect();
                    tracing::error!(
                        event = "worker-hangs",
                        group = self.plan.group.as_str(),
                        worker = number,
                        pid = worker.pid,
                        held = held.len(),
                        requests = requests.join("; "),
                        remedy = "a handler blocks its HTTP thread: use \
                                  tokio::task::spawn_blocking for work that blocks",
                        "worker {number} (pid {}): an HTTP thread did not turn for {:?}; it is \
                         killed, with {} requests",
                        worker.pid,
                        self.plan.options.hang_timeout,
                        held.len(),
                    );
                    living.killed.cancel();
                }
            }
        }
    }

    fn send_to_sleep(&mut self, at: usize) {
        let place = &mut self.places[at];
        let Some(living) = place.living.take() else {
            return;
        };
        place.asleep = true;
        living.worker.drain();
        tracing::info!(
            event = "worker-sleeps",
            group = self.plan.group.as_str(),
            worker = living.worker.number,
            pid = living.worker.pid,
            "worker {} (pid {}) had no request for {:?} and ends until there is one",
            living.worker.number,
            living.worker.pid,
            self.plan.options.inactivity_timeout,
        );
        self.end(living, StopReason::Inactivity);
        self.wait_for_knock();
    }

    /// A request waits: those who sleep are started again.
    pub(super) fn wake(&mut self) {
        for at in 0..self.places.len() {
            let place = &mut self.places[at];
            if std::mem::take(&mut place.asleep) && !place.starting {
                let number = place.number;
                self.begin(number, Duration::ZERO);
            }
        }
    }
}
