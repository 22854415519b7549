//! Accepting connections, where and as long as that is wanted.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{ACCEPT_PAUSE, give, http_thread::HttpThread, listener::AsyncListener};
use crate::config::ListenAddress;

/// Tasks that accept, each on one listener, for the HTTP threads of one server. A clone is the same.
#[derive(Clone, Debug)]
pub struct Acceptors {
    threads: Arc<[HttpThread]>,
    tasks: Arc<Mutex<Vec<Acceptor>>>,
    /// Comes when all are to end.
    all: CancellationToken,
}

/// Listeners that are waited for on a runtime, and from which nothing is taken yet.
#[derive(Debug)]
pub struct Waiting(pub(super) Vec<(ListenAddress, AsyncListener)>);

#[derive(Debug)]
struct Acceptor {
    /// What it was to listen on.
    address: ListenAddress,
    /// Comes when it is to take what waits, and to end.
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Acceptors {
    pub(super) fn new(threads: Arc<[HttpThread]>) -> Self {
        Self {
            threads,
            tasks: Arc::default(),
            all: CancellationToken::new(),
        }
    }

    /// Accepts on these from now on. To be called on their runtime.
    pub fn begin(&self, waiting: Waiting) {
        for (address, listener) in waiting.0 {
            let (all, end) = (self.all.clone(), CancellationToken::new());
            let (threads, ended) = (Arc::clone(&self.threads), end.clone());
            let task = tokio::spawn(async move {
                tokio::select! {
                    // First, so that nothing is taken after it.
                    biased;
                    () = all.cancelled() => {}
                    () = ended.cancelled() => take_waiting(&listener, &threads),
                    () = accept(&listener, &threads) => {}
                }
            });
            self.lock().push(Acceptor { address, end, task });
        }
    }

    /// Accepts no more on these; of two listeners with one address, on one. Who has connected there
    /// is served.
    pub fn leave(&self, addresses: &[ListenAddress]) {
        let mut tasks = self.lock();
        for address in addresses {
            if let Some(at) = tasks.iter().position(|it| it.address == *address) {
                tasks.remove(at).end.cancel();
            }
        }
    }

    pub(super) fn cancel(&self) {
        self.all.cancel();
    }

    /// Accepts no more anywhere. Returns when what has just been taken is on a thread, to be waited
    /// for there.
    pub(super) async fn end(&self) {
        self.cancel();
        let tasks = std::mem::take(&mut *self.lock());
        for acceptor in tasks {
            let _ = acceptor.task.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Acceptor>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes those that have connected already: closing the listener would reset them.
fn take_waiting(listener: &AsyncListener, threads: &[HttpThread]) {
    while let Some(accepted) = listener.accept().now_or_never() {
        match accepted {
            Ok(connection) => give(connection, threads),
            Err(error) if is_passing(&error) => {}
            Err(_) => return,
        }
    }
}

async fn accept(listener: &AsyncListener, threads: &[HttpThread]) {
    loop {
        match listener.accept().await {
            Ok(connection) => give(connection, threads),
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                tracing::warn!(
                    event = "accept-failed",
                    "cannot accept a connection: {error}; raise the limit of open files (ulimit -n) \
                     if that is the reason",
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Errors that concern one connection and not the listener (see accept(2)).
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
