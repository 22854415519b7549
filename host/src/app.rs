//! An app: its identity, and the generation that answers for it now.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use arc_swap::ArcSwapOption;

mod gate;

pub use gate::{Refusal, Wait};

use crate::{
    config::Mount,
    generation::{Generation, Lease},
    id::{AppName, ArtifactPath},
};
use gate::{Closed, Gate};

/// An app. Two paths are two apps, even with the same bytes.
#[derive(Debug)]
pub struct App {
    /// Its identity: the artifact's absolute path.
    pub path: ArtifactPath,
    /// Its name.
    pub name: AppName,
    /// Where it is mounted.
    pub mount: Mount,
    current: ArcSwapOption<Generation>,
    /// The next request is to wait for a new generation.
    armed: AtomicBool,
    gate: Gate,
}

/// How requests wait for a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long each.
    pub time: Duration,
    /// How many at the same time.
    pub most: usize,
}

/// What a request gets.
#[derive(Debug)]
pub enum Entry {
    /// The generation that answers now.
    Lease(Lease),
    /// It is to wait.
    Wait(Wait),
    /// It is not answered by the app.
    Refused(Refusal),
    /// The app is gone.
    Gone,
}

impl App {
    /// An app that nothing answers for yet. `wanted` is called, on the request's thread, when a
    /// request is the first to wait for a generation that nobody loads yet.
    #[must_use]
    pub fn new(
        path: ArtifactPath,
        name: AppName,
        mount: Mount,
        patience: Patience,
        wanted: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            path,
            name,
            mount,
            current: ArcSwapOption::empty(),
            armed: AtomicBool::new(false),
            gate: Gate::new(patience, wanted),
        }
    }

    /// For a request: a lease on the generation that answers now, or a place among those who wait
    /// for one.
    #[must_use]
    pub fn enter(&self) -> Entry {
        if let Some(generation) = self.current.load_full() {
            if !self.armed.load(Ordering::Acquire) || !self.armed.swap(false, Ordering::AcqRel) {
                return Entry::Lease(Lease(generation));
            }
            return self.gate.wait_for_next(Lease(generation));
        }
        self.gate
            .wait(|| self.current.load_full().map(Lease))
            .unwrap_or(Entry::Gone)
    }

    /// A lease on the generation that answers now; `None` while none does.
    #[must_use]
    pub fn current(&self) -> Option<Lease> {
        self.current.load_full().map(Lease)
    }

    /// From this call on, new requests get this generation, and those that wait get it, too.
    /// Atomic: every request gets the one before or this one, and none that begins after it gets
    /// the one before.
    pub fn open(&self, lease: &Lease) {
        self.armed.store(false, Ordering::Release);
        self.current.store(Some(lease.clone().0));
        self.gate.admit(lease);
    }

    /// The next request waits for a new generation, and has it loaded; others get the current one
    /// meanwhile.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Release);
    }

    /// Requests that wait for a new generation get the current one.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Release);
        if let Some(current) = self.current.load_full() {
            self.gate.admit(&Lease(current));
        }
    }

    /// From this call on, requests wait until it is opened. `loading`: somebody sees to that; else
    /// the first of them has the app loaded.
    pub fn shut(&self, loading: bool) {
        self.gate.close(if loading {
            Closed::Loading
        } else {
            Closed::Unloaded
        });
        self.current.store(None);
    }

    /// From this call on, requests are refused with that, and so are those that wait.
    pub fn refuse(&self, refusal: &Refusal) {
        self.gate.close(Closed::Refused(refusal.clone()));
        self.current.store(None);
        self.gate.turn_away(refusal);
    }

    /// Nothing answers any more: those who wait are told that it is gone.
    pub fn close(&self) {
        self.gate.close(Closed::Gone);
        self.current.store(None);
        self.gate.turn_away(&Refusal::Gone);
    }

    /// How requests wait that come from now on.
    pub fn set_patience(&self, patience: Patience) {
        self.gate.set_patience(patience);
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.gate.waiting()
    }
}
