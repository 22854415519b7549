//! Scheduled calls: one worker makes each.

use super::{Muster, Place};
use crate::{channel::Order, supervisor::calls::Due};

impl Muster {
    /// In the first worker that is there: the next one takes over when it dies. While none is, the
    /// call waits for one, and wakes those who sleep.
    pub(super) fn run_schedule(&mut self, due: Due) {
        let mut living = self.places.iter().filter_map(|place| place.living.as_ref());
        let found = living.find_map(|living| Some((living, living.worker.engage()?)));
        if let Some((living, engaged)) = found {
            let Due { app, name, reply } = due;
            let call = self.calls.open(living.serial, engaged, reply);
            let app = app.to_string();
            let _ = living.orders.send(Order::RunSchedule { call, app, name });
            return;
        }
        let is_expected = |place: &Place| place.is_filled() || place.asleep || place.vacant;
        if self.places.iter().any(is_expected) {
            self.put_off.push(due);
            self.wake();
        } else {
            let _ = due.reply.send(Err("no worker is there".to_owned()));
        }
    }

    /// Makes the calls that have waited, or waits on.
    pub(super) fn run_put_off(&mut self) {
        for due in std::mem::take(&mut self.put_off) {
            self.run_schedule(due);
        }
    }
}
