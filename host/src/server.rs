//! Listeners, HTTP threads and connections.
//!
//! One task accepts on each listener and hands the connection to the HTTP thread that has the
//! fewest; there it stays. HTTP threads are the host's own: each has a current-thread runtime, so
//! that a plugin's futures are polled where their connection is, and a queue.

use std::{io, num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

mod acceptors;
mod connection;
mod crowd;
mod direct;
mod entrance;
mod http_thread;
mod lane;
mod last_answer;
mod listener;
mod orders;
mod tap;
mod trunk;
mod unheard;

pub use acceptors::Acceptors;
pub use entrance::Entrance;
pub use lane::Lane;
pub use listener::{BindError, Heirloom, Heirlooms, Listeners};
pub(crate) use listener::{SocketFile, bind_unix};
pub use unheard::Unheard;

use crate::{dispatch::Dispatcher, process::HostThreads};
use http_thread::HttpThread;
use orders::Orders;
use unheard::Accepted;

/// How long to wait before accepting again when the process has no descriptor left.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running server.
#[derive(Debug)]
pub struct Server {
    threads: Arc<[HttpThread]>,
    dispatcher: Arc<Dispatcher>,
    acceptors: Acceptors,
    orders: Orders,
}

impl Server {
    /// Starts the HTTP threads, goes on with the connections that somebody gave up, and accepts on
    /// the listeners from now on. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// When the system gives no thread, or a listener cannot be waited for.
    pub fn start(
        listeners: Listeners,
        unheard: Vec<Unheard>,
        threads: NonZeroUsize,
        dispatcher: Dispatcher,
        host_threads: &HostThreads,
    ) -> io::Result<Self> {
        let dispatcher = Arc::new(dispatcher);
        let orders = Orders::default();
        let threads: Arc<[HttpThread]> = (0..threads.get())
            .map(|number| HttpThread::start(number, Arc::clone(&dispatcher), orders.clone()))
            .collect::<io::Result<_>>()?;
        for thread in threads.iter() {
            host_threads.add(thread.name().to_owned(), thread.errands());
        }
        // One whose client has gone meanwhile is no connection any more.
        for connection in unheard.into_iter().filter_map(|it| it.accept().ok()) {
            give(connection, &threads);
        }
        let acceptors = Acceptors::new(Arc::clone(&threads));
        acceptors.begin(listeners.wait_for()?);
        Ok(Self {
            threads,
            dispatcher,
            acceptors,
            orders,
        })
    }

    /// Accepts no more, lets each connection finish what it has begun, and waits for that until
    /// `deadline`. Upgraded connections are not waited for: their generations' leases are.
    pub async fn drain(&self, deadline: Instant) {
        self.acceptors.end().await;
        self.orders.drain.cancel();
        for thread in self.threads.iter() {
            if timeout_at(deadline, thread.idle()).await.is_err() {
                tracing::warn!(
                    event = "connections-cut",
                    connections = thread.connections(),
                    "the drain time is over; cutting the connections that are left",
                );
                return;
            }
        }
    }

    /// The first part of going on elsewhere: all is served as before, new connections too, but each
    /// answer is the last of its connection, and says so. Returns when the connections that there
    /// were have ended, and so have all that were upgraded; at `deadline` it cuts those that are
    /// left.
    pub async fn wind_down(&self, deadline: Instant) {
        for thread in self.threads.iter() {
            thread.others_from_now_on();
        }
        self.orders.last.cancel();
        let ended = async {
            for thread in self.threads.iter() {
                thread.earlier().gone().await;
            }
            self.dispatcher.tunnels_gone().await;
        };
        if timeout_at(deadline, ended).await.is_ok() {
            return;
        }
        let left = self.threads.iter().map(|thread| thread.earlier().number());
        tracing::warn!(
            event = "connections-cut",
            connections = left.sum::<usize>(),
            tunnels = self.dispatcher.tunnels(),
            "the drain time is over; cutting the connections that are left",
        );
        for thread in self.threads.iter() {
            thread.earlier().disperse();
        }
    }

    /// The second part: accepts no more, and waits until what is being answered is, or `deadline`.
    /// Returns the connections on which nothing was asked yet, for somebody else to go on with.
    pub async fn hand_over(&self, deadline: Instant) -> Vec<Unheard> {
        self.acceptors.end().await;
        self.orders.give_up.cancel();
        self.drain(deadline).await;
        self.orders.given_up()
    }

    /// What accepts, to have it accept elsewhere, too, or no more.
    #[must_use]
    pub fn acceptors(&self) -> Acceptors {
        self.acceptors.clone()
    }

    /// Ends the HTTP threads, and with them what connections there still are. Waits for a thread
    /// until `deadline`; one that hangs in an app's code is left to the process's end.
    pub async fn stop(self, deadline: Instant) {
        self.acceptors.cancel();
        for thread in self.threads.iter() {
            thread.stop();
        }
        for thread in self.threads.iter() {
            if timeout_at(deadline, thread.stopped()).await.is_err() {
                tracing::warn!(
                    event = "thread-stuck",
                    thread = thread.name(),
                    "an HTTP thread does not come back from an app's code; leaving it",
                );
            }
        }
    }
}

fn give(connection: Accepted, threads: &[HttpThread]) {
    if let Some(thread) = threads.iter().min_by_key(|thread| thread.connections()) {
        thread.take(connection);
    }
}
