//! Where requests wait for a worker while none is ready.
//!
//! A request that waits has been read up to its head only. Who makes a worker ready, makes it so
//! first and then comes here; who finds none ready, comes here and looks again under the lock. So
//! none waits while a worker is ready.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

use super::{About, Held, Tried, Worker};
use crate::id::AppName;

/// How requests wait for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How many at the same time; with 0 none waits.
    pub queue: usize,
    /// How long each. Zero: until there is a worker, or is to be none.
    pub queue_timeout: Duration,
}

impl Patience {
    /// When one that begins to wait now has waited long enough.
    fn until(self) -> Option<Instant> {
        let time = Some(self.queue_timeout).filter(|time| !time.is_zero());
        // One that is too far away to be said is none.
        time.and_then(|time| Instant::now().checked_add(time))
    }
}

/// Why a request gets no worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many others wait.
    #[error("no worker is ready, and too many requests wait for one")]
    Full,
    /// None got ready in time.
    #[error("no worker got ready in time")]
    TimedOut,
    /// None is about to be started: why.
    #[error("no worker is ready: {0}")]
    Shut(Arc<str>),
    /// Other workers answer for its app by now.
    #[error("the workers are being replaced")]
    Replaced,
}

#[derive(Debug)]
pub(super) struct Queue {
    patience: Patience,
    state: Mutex<State>,
    changed: Arc<Notify>,
    came: Notify,
}

#[derive(Debug, Default)]
struct State {
    shut: Option<Arc<str>>,
    /// Apps whose requests are to go elsewhere.
    replaced: Vec<AppName>,
    waiting: VecDeque<Waiting>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    about: About,
    tried: Tried,
    admission: oneshot::Sender<Result<Held, Refusal>>,
}

impl Queue {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            state: Mutex::default(),
            changed: Arc::default(),
            came: Notify::new(),
        }
    }

    /// Waits for a worker, which `choose` finds if there is one by now.
    pub(super) async fn wait(
        &self,
        about: About,
        tried: Tried,
        choose: impl FnOnce(&Tried) -> Option<Arc<Worker>>,
    ) -> Result<Held, Refusal> {
        let until = self.patience.until();
        let (admission, mut admitted) = oneshot::channel();
        let place = {
            let mut state = self.lock();
            if let Some(worker) = choose(&tried) {
                return Ok(Held::new(worker, about));
            }
            if state.replaced.contains(&about.app) {
                return Err(Refusal::Replaced);
            }
            if let Some(reason) = &state.shut {
                return Err(Refusal::Shut(Arc::clone(reason)));
            }
            if state.waiting.len() >= self.patience.queue {
                return Err(Refusal::Full);
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.push_back(Waiting {
                ticket,
                about,
                tried,
                admission,
            });
            Place {
                queue: self,
                ticket,
            }
        };
        self.came.notify_one();
        let waited = match until {
            Some(until) => timeout_at(until, &mut admitted).await,
            None => Ok((&mut admitted).await),
        };
        drop(place);
        match waited {
            Ok(Ok(answer)) => answer,
            // It may have come in this moment.
            _ => admitted.try_recv().unwrap_or(Err(Refusal::TimedOut)),
        }
    }

    /// Gives each that waits, the first first, the worker that `choose` finds for it.
    pub(super) fn admit(&self, mut choose: impl FnMut(&Tried) -> Option<Arc<Worker>>) {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        for one in waiting {
            match choose(&one.tried) {
                // Who has gone away gives it back.
                Some(worker) => drop(one.admission.send(Ok(Held::new(worker, one.about)))),
                None => state.waiting.push_back(one),
            }
        }
    }

    pub(super) fn shut(&self, reason: Option<Arc<str>>) {
        let mut state = self.lock();
        state.shut.clone_from(&reason);
        let Some(reason) = reason else { return };
        for one in std::mem::take(&mut state.waiting) {
            let _ = one.admission.send(Err(Refusal::Shut(Arc::clone(&reason))));
        }
    }

    /// That app's requests do not wait here any more, and those that do are turned back.
    pub(super) fn turn_back(&self, app: &AppName) {
        let mut state = self.lock();
        if !state.replaced.contains(app) {
            state.replaced.push(app.clone());
        }
        for one in std::mem::take(&mut state.waiting) {
            if one.about.app == *app {
                let _ = one.admission.send(Err(Refusal::Replaced));
            } else {
                state.waiting.push_back(one);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Comes when a request has begun to wait since the last of these.
    pub(super) async fn came(&self) {
        self.came.notified().await;
    }

    /// Comes when one that waited now has ceased to.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + use<> {
        Arc::clone(&self.changed).notified_owned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one that waits no longer out of the queue.
struct Place<'a> {
    queue: &'a Queue,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        let found = state
            .waiting
            .binary_search_by_key(&self.ticket, |one| one.ticket);
        if let Ok(place) = found {
            state.waiting.remove(place);
        }
        drop(state);
        self.queue.changed.notify_waiters();
    }
}
