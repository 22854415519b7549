//! What a connection holds of which generation, and ending it when nothing else helps.
//!
//! At the drain deadline calls and bodies end by themselves when they are polled next. But hyper
//! polls no body while the client does not read, and data that the client does not read is the
//! plugin's memory, or a worker's request. So a connection that still holds some of it a second
//! later is closed.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use crate::{generation::Lease, loader::Peer, router::Router};

/// Time for the end of a body to reach a client that reads.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Travels in whatever the connection holds of a generation.
pub(super) type Held = Arc<()>;

/// A connection, to those who answer its requests.
#[derive(Debug)]
pub struct Connection {
    pub(super) peer: Peer,
    requests: Cell<u64>,
    /// Told of the first one.
    first: Notify,
    pub(super) state: Rc<State>,
    // Ends the watches when the connection ends.
    _over: DropGuard,
}

/// What requests know of their connection.
#[derive(Debug)]
pub(super) struct State {
    /// Requests that wait for a generation.
    waiting: Cell<usize>,
    watched: RefCell<Vec<Watched>>,
    cut: CancellationToken,
    over: CancellationToken,
    tunnels: TaskTracker,
    /// Where a request finds its app once more. Here, so that requests do not all count in it.
    pub(super) router: Arc<Router>,
}

/// A generation that has answered on this connection.
#[derive(Debug)]
struct Watched {
    serial: u64,
    held: Held,
}

impl Connection {
    /// A connection that has answered nothing yet.
    pub(super) fn new(peer: Peer, tunnels: TaskTracker, router: Arc<Router>) -> Self {
        let over = CancellationToken::new();
        let state = State {
            waiting: Cell::new(0),
            watched: RefCell::default(),
            cut: CancellationToken::new(),
            over: over.clone(),
            tunnels,
            router,
        };
        Self {
            peer,
            requests: Cell::new(0),
            first: Notify::new(),
            state: Rc::new(state),
            _over: over.drop_guard(),
        }
    }

    /// Resolves when it has to be closed.
    pub async fn cut(&self) {
        self.state.cut.cancelled().await;
    }

    /// How many requests have come on it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    pub(super) fn count_request(&self) {
        if self.requests.replace(self.requests.get() + 1) == 0 {
            self.first.notify_one();
        }
    }

    /// Waits for the first request.
    pub async fn asked(&self) {
        if self.requests() == 0 {
            self.first.notified().await;
        }
    }

    /// Whether an app is answering on it, is waited for, or has data on the way to the client.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        if self.state.waiting.get() > 0 {
            return true;
        }
        let watched = self.state.watched.borrow();
        // One is the connection's own.
        watched
            .iter()
            .any(|watched| Arc::strong_count(&watched.held) > 1)
    }
}

impl State {
    /// To be held by an upgraded connection for as long as it is one.
    pub(super) fn tunnel(&self) -> TaskTrackerToken {
        self.tunnels.token()
    }

    /// A token to put into everything that comes of this lease. The first for a generation starts
    /// a watch for its cut, so that further ones cost next to nothing.
    pub(super) fn hold(self: &Rc<Self>, lease: &Lease) -> Held {
        let mut watched = self.watched.borrow_mut();
        if let Some(found) = watched
            .iter()
            .find(|watched| watched.serial == lease.serial)
        {
            return Arc::clone(&found.held);
        }
        let held = Held::default();
        watched.push(Watched {
            serial: lease.serial,
            held: Arc::clone(&held),
        });
        tokio::task::spawn_local(watch(
            Rc::clone(self),
            lease.serial,
            Arc::downgrade(&held),
            lease.cut().token().clone(),
        ));
        held
    }

    /// Has the connection closed.
    pub(super) fn close(&self) {
        self.cut.cancel();
    }

    /// Counts a request that waits, until what this returns is dropped.
    pub(super) fn wait(self: &Rc<Self>) -> Waiting {
        self.waiting.set(self.waiting.get() + 1);
        Waiting(Rc::clone(self))
    }
}

/// A request of a connection's that waits for a generation.
#[derive(Debug)]
pub(super) struct Waiting(Rc<State>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

async fn watch(state: Rc<State>, serial: u64, held: Weak<()>, generation: CancellationToken) {
    let over = state.over.clone();
    let end = async {
        generation.cancelled().await;
        // One is the connection's own.
        if held.strong_count() > 1 {
            tokio::time::sleep(LINGER).await;
        }
        if held.strong_count() > 1 {
            tracing::debug!("closing a connection whose client does not read");
            state.close();
        }
    };
    over.run_until_cancelled(end).await;
    state
        .watched
        .borrow_mut()
        .retain(|watched| watched.serial != serial);
}
