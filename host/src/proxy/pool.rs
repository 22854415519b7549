//! The connections that this thread keeps to a worker while they are idle.
//!
//! A pool lives as long as its worker takes requests: then its idle connections are closed, and
//! those in use when their request has ended.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{header, response::Parts};
use tokio::time::{Instant, sleep};

use super::{
    connection::{Connection, Protocol},
    trunks::Trunks,
};
use crate::workers::Worker;

/// Idle connections that a thread keeps to a worker; further ones are closed.
const MOST_IDLE: usize = 64;

/// How long a connection is kept idle, more or less: well below the half minute after which a
/// worker's server closes it, so that the two seldom happen to use and close it at the same time.
const IDLE: Duration = Duration::from_secs(10);

thread_local! {
    static POOLS: RefCell<HashMap<u64, Rc<Pool>>> = RefCell::default();
}

/// A thread's connections to a worker.
#[derive(Debug, Default)]
pub(super) struct Pool {
    is_closed: Cell<bool>,
    /// The one that was used last is at the end.
    idle: RefCell<Vec<Idle>>,
    pub(super) trunks: Trunks,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// This thread's pool for a worker.
    pub(super) fn of(worker: &Arc<Worker>) -> Rc<Self> {
        POOLS.with_borrow_mut(|pools| {
            let pool = pools.entry(worker.serial()).or_insert_with(|| {
                tokio::task::spawn_local(tend(Arc::clone(worker)));
                Rc::default()
            });
            Rc::clone(pool)
        })
    }

    /// An idle connection.
    pub(super) fn take(&self, protocol: Protocol) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let place = idle
                .iter()
                .rposition(|idle| idle.connection.protocol() == protocol)?;
            let connection = idle.remove(place).connection;
            if connection.is_ready() {
                return Some(connection);
            }
        }
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if !self.is_closed.get() && !connection.is_closed() && idle.len() < MOST_IDLE {
            idle.push(Idle {
                connection,
                since: Instant::now(),
            });
        }
    }

    fn sweep(&self) {
        self.idle
            .borrow_mut()
            .retain(|idle| idle.since.elapsed() < IDLE && !idle.connection.is_closed());
    }
}

/// Looks after a worker's pool until it takes no more requests.
async fn tend(worker: Arc<Worker>) {
    let tending = async {
        loop {
            sleep(IDLE / 2).await;
            if let Some(pool) = POOLS.with_borrow(|pools| pools.get(&worker.serial()).cloned()) {
                pool.sweep();
            }
        }
    };
    worker.leaving().run_until_cancelled(tending).await;
    let pool = POOLS.with_borrow_mut(|pools| pools.remove(&worker.serial()));
    if let Some(pool) = pool {
        pool.is_closed.set(true);
        pool.idle.take();
        pool.trunks.close();
    }
}

/// A connection in use, and where it goes then.
#[derive(Debug)]
pub(super) struct Leased {
    pool: Rc<Pool>,
    connection: Connection,
}

impl Leased {
    pub(super) fn new(pool: Rc<Pool>, connection: Connection) -> Self {
        Self { pool, connection }
    }

    /// The response has ended as it should. Dropping it instead closes the connection.
    pub(super) fn give_back(self) {
        let Self {
            pool,
            mut connection,
        } = self;
        if connection.is_ready() {
            pool.put(connection);
        } else if !connection.is_closed() {
            // The request's body has not ended yet.
            tokio::task::spawn_local(async move {
                if connection.ready().await {
                    pool.put(connection);
                }
            });
        }
    }

    /// Its bytes are no longer HTTP.
    pub(super) fn becomes_tunnel(&self) {
        self.connection.becomes_tunnel();
    }

    /// Whether nothing but the connection's end says where that response's body ends. Asked before
    /// the head's fields for this connection are taken off.
    pub(super) fn ends_by_closing(&self, parts: &Parts) -> bool {
        let is_chunked = || {
            let last = parts
                .headers
                .get_all(header::TRANSFER_ENCODING)
                .iter()
                .next_back();
            last.and_then(|value| value.to_str().ok())
                .is_some_and(|value| {
                    let coding = value.rsplit(',').next().unwrap_or_default();
                    coding.trim().eq_ignore_ascii_case("chunked")
                })
        };
        self.connection.protocol() == Protocol::Http1
            && !parts.headers.contains_key(header::CONTENT_LENGTH)
            && !is_chunked()
    }
}
