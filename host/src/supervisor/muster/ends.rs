//! Workers that are told to end.

use std::{sync::Arc, time::Duration};

use super::{Living, Muster};
use crate::{channel::Order, loader::StopReason};

/// What a worker may take, in milliseconds, that has had its time already.
const LAST_MOMENT_MS: u64 = 1_000;

impl Muster {
    pub(super) fn stop(&mut self, reason: StopReason) {
        self.over.cancel();
        self.plan.size.give_up();
        self.put_off.clear();
        self.set.shut("it is being replaced");
        let stop = self.stop_order(reason);
        for place in &mut self.places {
            if let Some(living) = place.living.take() {
                living.worker.drain();
                let _ = living.orders.send(stop.clone());
                self.ending.push(living);
            }
        }
    }

    /// Ends a worker that gets no new requests, when it holds none any more or has had the time for
    /// them. Not before: one may be on its way.
    pub(super) fn end(&mut self, mut living: Living, reason: StopReason) {
        let (worker, orders) = (Arc::clone(&living.worker), living.orders.clone());
        let graceful = self.plan.options.graceful_timeout;
        // What it took itself is not known here: it has its time once it has been told to end.
        let mut drain_ms = Some(LAST_MOMENT_MS);
        if self.plan.sockets.is_some() {
            drain_ms = self.drain_ms();
            // Those of one that nobody needs are closed: in the lane they would wake it.
            if reason != StopReason::Inactivity {
                living.stand_aside();
            }
        }
        tokio::spawn(async move {
            worker.unheld_within(graceful).await;
            let _ = orders.send(Order::Stop { reason, drain_ms });
        });
        self.ending.push(living);
    }

    pub(super) fn stop_order(&self, reason: StopReason) -> Order {
        let drain_ms = self.drain_ms();
        Order::Stop { reason, drain_ms }
    }

    pub(super) fn drain_ms(&self) -> Option<u64> {
        let drain = Some(self.plan.options.graceful_timeout).filter(|time| !time.is_zero());
        drain.map(|drain| u64::try_from(drain.as_millis()).unwrap_or(u64::MAX))
    }

    /// A worker ends because somebody else has told it to: another takes its place.
    pub(super) fn leaves(&mut self, serial: u64, signal: &str) {
        let Some(place) = self.place_of(serial) else {
            return;
        };
        let place = &mut self.places[place];
        let Some(living) = place.living.take() else {
            return;
        };
        living.worker.drain();
        tracing::info!(
            event = "worker-leaves",
            group = self.plan.group.as_str(),
            worker = living.worker.number,
            pid = living.worker.pid,
            signal,
            "worker {} (pid {}) got {signal}: it finishes its requests, and is replaced",
            living.worker.number,
            living.worker.pid,
        );
        let number = place.number;
        self.ending.push(living);
        self.begin(number, Duration::ZERO);
    }
}
