//! What workers answer to those who come to them themselves.
//!
//! They count, and say it when they are asked, when they stand aside, and as often as the options of
//! their group need it. Here it is added to what the host counts of what it passes on.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::oneshot;

use super::{Living, Muster};
use crate::{
    channel::{Order, Served},
    generation::{Counts, Tally},
    id::AppName,
};

/// What is counted, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Counting {
    /// Where it is counted, by the apps' names.
    tallies: HashMap<String, Arc<Tally>>,
    next: u64,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    call: u64,
    /// Those who have not said it yet.
    serials: HashSet<u64>,
    done: oneshot::Sender<()>,
}

impl Counting {
    fn said(&mut self, serial: u64, of: impl Fn(&Waiting) -> bool) {
        for waiting in self.waiting.iter_mut().filter(|waiting| of(waiting)) {
            waiting.serials.remove(&serial);
        }
        let over = |it: &mut Waiting| it.serials.is_empty() || it.done.is_closed();
        for waiting in self.waiting.extract_if(.., over) {
            // Who asked may have given up.
            let _ = waiting.done.send(());
        }
    }

    /// That worker will not say any more.
    pub(super) fn died(&mut self, serial: u64) {
        self.said(serial, |_| true);
    }
}

impl Living {
    /// How many requests its apps were given, and have under way.
    pub(super) fn load(&self) -> (u64, usize) {
        let (taken, in_flight) = self.worker.own();
        (
            self.worker.taken() + taken,
            self.worker.in_flight() + in_flight,
        )
    }
}

impl Muster {
    /// What comes to workers themselves for that app is counted there.
    pub(super) fn count_in(&mut self, app: &AppName, tally: Arc<Tally>) {
        // Nothing has come yet: they do not accept before.
        self.counting.tallies.insert(app.to_string(), tally);
    }

    /// Has all workers say what they have answered.
    pub(super) fn count(&mut self, done: oneshot::Sender<()>) {
        self.counting.next += 1;
        let call = self.counting.next;
        let living = self.places.iter().filter_map(|place| place.living.as_ref());
        let serials = living.map(|living| {
            let _ = living.orders.send(Order::Count { call });
            living.serial
        });
        let serials = serials.collect();
        self.counting.waiting.push(Waiting {
            call,
            serials,
            done,
        });
        // There may be nobody at all.
        self.counting.said(0, |_| true);
    }

    /// A worker has said it.
    pub(super) fn served(&mut self, serial: u64, call: Option<u64>, apps: Vec<Served>) {
        let living = self.places.iter_mut().filter_map(|it| it.living.as_mut());
        let mut all = living.chain(&mut self.ending);
        if let Some(living) = all.find(|living| living.serial == serial) {
            for now in &apps {
                let before = living.served.insert(now.app.clone(), now.clone());
                if let Some(tally) = self.counting.tallies.get(&now.app) {
                    let before = before.as_ref().map_or_else(Counts::default, counts);
                    tally.add(counts(now).since(before));
                }
            }
            // One that stops, or stands aside, is not named.
            let others = living.served.values_mut();
            for other in others.filter(|it| !apps.iter().any(|now| now.app == it.app)) {
                other.in_flight = 0;
            }
            let served = living.served.values();
            let (taken, in_flight) = served.fold((0, 0), |(taken, in_flight), it| {
                (taken + it.requests, in_flight + it.in_flight)
            });
            let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX);
            living.worker.set_own(taken, in_flight);
            self.sum_up();
        }
        if let Some(call) = call {
            self.counting.said(serial, |waiting| waiting.call == call);
        }
    }

    /// How much is under way in all workers that there are.
    pub(super) fn sum_up(&self) {
        for (app, tally) in &self.counting.tallies {
            let living = self.places.iter().filter_map(|it| it.living.as_ref());
            let all = living.chain(&self.ending);
            let in_flight = all.filter_map(|living| living.served.get(app));
            let in_flight = in_flight.map(|served| served.in_flight).sum::<u64>();
            tally.set_elsewhere(usize::try_from(in_flight).unwrap_or(usize::MAX));
        }
    }
}

fn counts(of: &Served) -> Counts {
    Counts {
        requests: of.requests,
        failures: of.failures,
        panics: of.panics,
    }
}
