//! Where requests wait for a generation.
//!
//! A request that waits has not been read beyond its head: its client's connection holds the rest
//! back, so that its body goes to the generation that answers, once and whole.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{Entry, Patience};
use crate::generation::Lease;

/// Why a request that wanted an app is not answered by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The app is gone.
    #[error("the application is gone")]
    Gone,
    /// It could not be loaded.
    #[error("the application cannot be loaded")]
    Failed(Arc<str>),
    /// It took too long.
    #[error("the application is being loaded, and took too long")]
    TimedOut,
    /// Too many others wait.
    #[error("the application is being loaded, and too many wait for it")]
    Full,
}

/// The door to an app. Taken only by requests that do not get a generation at once.
pub(super) struct Gate {
    wanted: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    patience: Patience,
    closed: Closed,
    waiting: Vec<oneshot::Sender<Result<Lease, Refusal>>>,
}

/// What holds while there is no current generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Nothing: there is one.
    Not,
    /// The app is not there, or not there yet.
    Gone,
    /// One is being loaded.
    Loading,
    /// One is loaded when a request comes.
    Unloaded,
    /// None can be loaded.
    Refused(Refusal),
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Gate")
            .field("closed", &state.closed)
            .field("waiting", &state.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Gate {
    pub(super) fn new(patience: Patience, wanted: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            wanted: Box::new(wanted),
            state: Mutex::new(State {
                patience,
                closed: Closed::Gone,
                waiting: Vec::new(),
            }),
        }
    }

    /// A request that has a new generation loaded, though `current` answers.
    pub(super) fn wait_for_next(&self, current: Lease) -> Entry {
        let mut state = self.lock();
        // It went in this moment, and nobody would come to tell.
        if state.closed == Closed::Gone {
            return Entry::Lease(current);
        }
        let Some(wait) = state.queue() else {
            return Entry::Lease(current);
        };
        drop(state);
        (self.wanted)();
        Entry::Wait(wait)
    }

    /// A request that found no generation. `look` looks again, since one may have come meanwhile.
    /// `None`: the app is gone.
    pub(super) fn wait(&self, look: impl FnOnce() -> Option<Lease>) -> Option<Entry> {
        let mut state = self.lock();
        if let Some(lease) = look() {
            return Some(Entry::Lease(lease));
        }
        match &state.closed {
            Closed::Gone | Closed::Not => return None,
            Closed::Refused(refusal) => return Some(Entry::Refused(refusal.clone())),
            Closed::Loading | Closed::Unloaded => {}
        }
        let Some(wait) = state.queue() else {
            return Some(Entry::Refused(Refusal::Full));
        };
        let first = state.closed == Closed::Unloaded;
        state.closed = Closed::Loading;
        drop(state);
        if first {
            (self.wanted)();
        }
        Some(Entry::Wait(wait))
    }

    /// How requests wait that come from now on.
    pub(super) fn set_patience(&self, patience: Patience) {
        self.lock().patience = patience;
    }

    /// What holds from now on while there is no current generation. To be called before the
    /// current one is taken away: a request finds either.
    pub(super) fn close(&self, how: Closed) {
        self.lock().closed = how;
    }

    /// All who wait get that lease. To be called after it has become the current one.
    pub(super) fn admit(&self, lease: &Lease) {
        let waiting = {
            let mut state = self.lock();
            state.closed = Closed::Not;
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting {
            // Who has gone away gives it back.
            let _ = waiting.send(Ok(lease.clone()));
        }
    }

    /// All who wait are refused.
    pub(super) fn turn_away(&self, refusal: &Refusal) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        for waiting in waiting {
            let _ = waiting.send(Err(refusal.clone()));
        }
    }

    pub(super) fn waiting(&self) -> usize {
        let mut state = self.lock();
        state.waiting.retain(|waiting| !waiting.is_closed());
        state.waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self) -> Option<Wait> {
        if self.waiting.len() >= self.patience.most {
            // Some may have gone away.
            self.waiting.retain(|waiting| !waiting.is_closed());
        }
        if self.waiting.len() >= self.patience.most {
            return None;
        }
        let (sender, admission) = oneshot::channel();
        self.waiting.push(sender);
        Some(Wait {
            admission,
            until: Instant::now() + self.patience.time,
        })
    }
}

/// A request's place among those who wait.
#[derive(Debug)]
pub struct Wait {
    admission: oneshot::Receiver<Result<Lease, Refusal>>,
    until: Instant,
}

impl Wait {
    /// Waits for a generation.
    ///
    /// # Errors
    /// When there is none in time, or will be none.
    pub async fn lease(self) -> Result<Lease, Refusal> {
        match timeout_at(self.until, self.admission).await {
            Ok(Ok(admission)) => admission,
            Ok(Err(_)) => Err(Refusal::Gone),
            Err(_) => Err(Refusal::TimedOut),
        }
    }
}
