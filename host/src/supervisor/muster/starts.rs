//! Workers that are started while their crew serves.

use std::{sync::Arc, time::Duration};

use super::{Event, Muster};
use crate::{
    channel::Order,
    loader::StopReason,
    reload::LaunchError,
    supervisor::{crew::next_serial, hand::Hand},
};

impl Muster {
    /// Starts a worker in that place after that time; where no two may be, when the one is gone.
    pub(super) fn begin(&mut self, number: u32, wait: Duration) {
        let is_there = self.is_there(number);
        let Some(place) = self.places.iter_mut().find(|place| place.number == number) else {
            return;
        };
        if self.plan.alone && is_there {
            place.awaits_end = true;
            return;
        }
        place.starting = true;
        place.start = self.over.child_token();
        let (plan, events, over) = (
            Arc::clone(&self.plan),
            self.events.clone(),
            place.start.clone(),
        );
        let asks = self.asks.clone();
        tokio::spawn(async move {
            let start = async {
                tokio::time::sleep(wait).await;
                Hand::start(&plan, number, next_serial(), &asks).await
            };
            // What was being started is killed when it is dropped.
            let result = match over.run_until_cancelled(start).await {
                Some(result) => result.map(|(hand, _)| Box::new(hand)),
                None => Err(LaunchError {
                    app: None,
                    reason: "it is not wanted any more".to_owned(),
                    remedy: String::new(),
                }),
            };
            let _ = events.send(Event::Started { number, result });
        });
    }

    /// It is ready, or will not be.
    pub(super) fn started(&mut self, number: u32, result: Result<Box<Hand>, LaunchError>) {
        let found = self.places.iter().position(|place| place.number == number);
        let Some(at) = found else { return };
        self.places[at].starting = false;
        let over = self.is_over() || self.places[at].start.is_cancelled();
        match result {
            Ok(hand) => {
                let worker = Arc::clone(&hand.worker);
                let mut living = self.employ(*hand);
                if over {
                    // Came in the moment in which it was given up.
                    let _ = living.orders.send(Order::Stop {
                        reason: StopReason::Abandoned,
                        drain_ms: Some(0),
                    });
                    self.ending.push(living);
                    return self.begin_again(at);
                }
                let entries = self.plan.registry.borrow().to_string();
                let _ = living.orders.send(Order::Registry(entries));
                if self.entrances.are_open {
                    living.accept();
                }
                let place = &mut self.places[at];
                let renewal = place.renewal.take();
                let before = place.living.replace(living);
                tracing::info!(
                    event = "worker-started",
                    group = self.plan.group.as_str(),
                    worker = number,
                    pid = worker.pid,
                    "worker {number} (pid {}) serves",
                    worker.pid,
                );
                self.set.open();
                match before {
                    Some(before) => {
                        if self.handing.remove(&before.serial).is_some() {
                            // The one before has left it already.
                            self.set.add(worker);
                        } else {
                            self.set.replace(&before.worker, worker);
                        }
                        self.end(before, renewal.unwrap_or(StopReason::MaxAge));
                    }
                    None => self.set.add(worker),
                }
                self.run_put_off();
            }
            Err(_) if over => self.begin_again(at),
            Err(error) => {
                tracing::error!(
                    event = "worker-failed",
                    group = self.plan.group.as_str(),
                    worker = number,
                    reason = %error,
                    remedy = error.remedy,
                    "worker {number} did not become ready: {error}",
                );
                self.take_back(at);
                let wait = self.places[at].backoff.died(None);
                self.again(number, wait);
            }
        }
    }
}
