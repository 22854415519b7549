//! Workers that take connections themselves.

use std::collections::HashSet;

use tokio::sync::oneshot;

use super::{Event, Living, Muster, Place};
use crate::channel::Order;

/// Who takes connections, and who waits until nobody does.
#[derive(Debug, Default)]
pub(super) struct Entrances {
    /// Whether workers are to take connections.
    pub(super) are_open: bool,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Those who have not stood aside yet.
    serials: HashSet<u64>,
    done: oneshot::Sender<()>,
}

impl Entrances {
    /// A worker begins nothing more, or is dead.
    pub(super) fn stood_aside(&mut self, serial: u64) {
        for waiting in &mut self.waiting {
            waiting.serials.remove(&serial);
        }
        let over = self.waiting.extract_if(.., |it| it.serials.is_empty());
        for waiting in over {
            // Who asked may be gone.
            let _ = waiting.done.send(());
        }
    }
}

/// Whether a worker stands aside.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Nothing begins any more on connections that it took itself.
    is: bool,
    /// Counts what it was told, so that it is known what it answers to.
    time: u64,
}

impl Living {
    /// It takes connections itself from now on.
    pub(super) fn accept(&mut self) {
        self.aside.is = false;
        self.aside.time += 1;
        let _ = self.orders.send(Order::Accept);
    }

    /// It takes none any more.
    pub(super) fn stand_aside(&mut self) {
        self.aside.time += 1;
        let time = self.aside.time;
        let _ = self.orders.send(Order::StandAside { time });
    }
}

impl Muster {
    pub(super) fn open_entrances(&mut self) {
        if self.plan.sockets.is_some() && !self.is_over() {
            self.entrances.are_open = true;
            for place in &mut self.places {
                if let Some(living) = &mut place.living
                    // Its successor is on the way.
                    && !self.handing.contains_key(&living.serial)
                {
                    living.accept();
                }
            }
        }
    }

    pub(super) fn shut_entrances(&mut self, done: oneshot::Sender<()>) {
        if self.plan.sockets.is_none() {
            let _ = done.send(());
            return;
        }
        // Who is asked twice says so twice.
        self.entrances.are_open = false;
        let living = self.places.iter_mut().filter_map(|it| it.living.as_mut());
        let all = living.chain(&mut self.ending);
        // Who is ending has stood aside, or will without being told.
        let serials = all.filter(|living| !living.aside.is).map(|living| {
            living.stand_aside();
            living.serial
        });
        let serials = serials.collect();
        self.entrances.waiting.push(Waiting { serials, done });
        // There may be nobody at all.
        self.entrances.stood_aside(0);
    }

    /// A worker says that it begins nothing more.
    pub(super) fn stands_aside(&mut self, serial: u64, time: Option<u64>) {
        let living = self.places.iter_mut().filter_map(|it| it.living.as_mut());
        let mut all = living.chain(&mut self.ending);
        let Some(living) = all.find(|living| living.serial == serial) else {
            return;
        };
        // What it was told before has been overtaken.
        if time.is_none_or(|time| time == living.aside.time) {
            living.aside.is = true;
            self.entrances.stood_aside(serial);
        }
    }

    /// While all workers sleep, nobody but this process sees that somebody connects.
    pub(super) fn wait_for_knock(&self) {
        let Some(sockets) = self.plan.sockets.clone() else {
            return;
        };
        if self.places.iter().any(Place::is_filled) {
            return;
        }
        let (events, over) = (self.events.clone(), self.over.clone());
        tokio::spawn(async move {
            if let Some(Err(error)) = over.run_until_cancelled(sockets.knock()).await {
                tracing::warn!("cannot wait for connections, and starts workers: {error}");
            }
            // Nobody sleeps in a crew that is over.
            let _ = events.send(Event::Knocked);
        });
    }
}
