//! Where a worker takes connections itself, on the sockets that all workers of its group have.
//!
//! It opens when the group is switched to the worker, and closes when the group is switched to
//! another: then what waits between two requests goes on in a worker that accepts
//! ([`Lane`](super::Lane)), and what is being answered does when it has been.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, yield_now},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    ACCEPT_PAUSE, Lane, Listeners, Server,
    acceptors::is_passing,
    crowd::{Crowd, Member},
    http_thread::HttpThread,
    lane::{Exit, Passing, Way},
    listener::AsyncListener,
    orders::Orders,
    unheard::Accepted,
};
use crate::dispatch::Dispatcher;

/// How long a thread may take to tell its connections. One that does not come back from an app's
/// code finds out before it begins anything.
const TURN: Duration = Duration::from_secs(2);

/// A worker's own way in.
#[derive(Debug)]
pub struct Entrance {
    threads: Arc<[HttpThread]>,
    listeners: Vec<Arc<AsyncListener>>,
    exit: Arc<Exit>,
    dispatcher: Arc<Dispatcher>,
    orders: Orders,
    outgoing: Outgoing,
    open: Option<Open>,
    /// Connections of times that are over which have not gone.
    past: Vec<Crowd>,
}

/// While it is open.
#[derive(Debug)]
struct Open {
    shift: Arc<Shift>,
    accepting: CancellationToken,
    acceptors: Vec<JoinHandle<()>>,
}

/// One time of being open, to its connections.
#[derive(Debug)]
pub(super) struct Shift {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) orders: Orders,
    /// Its connections go on elsewhere.
    over: CancellationToken,
    is_over: AtomicBool,
    /// Connections that have not heard of that.
    unaware: Crowd,
    /// All of them.
    present: Crowd,
    outgoing: Outgoing,
}

/// A connection that came in there.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) accepted: Accepted,
    /// What was read of its next request.
    pub(super) read: Bytes,
    pub(super) shift: Arc<Shift>,
    pub(super) unaware: Member,
    pub(super) present: Member,
}

/// Connections on their way to others.
#[derive(Clone, Debug)]
struct Outgoing {
    queue: mpsc::UnboundedSender<(Passing, Member)>,
    crowd: Crowd,
}

impl Server {
    /// A way in beside the server's own, which is closed at first. What comes in there is answered
    /// by `dispatcher`. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// When a listener or the lane cannot be waited for.
    pub fn entrance(
        &self,
        listeners: Listeners,
        lane: Lane,
        dispatcher: Dispatcher,
    ) -> io::Result<Entrance> {
        let (way, exit) = lane.open()?;
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::spawn(send(way, queued));
        let listeners = listeners.wait_for()?.0.into_iter();
        Ok(Entrance {
            threads: Arc::clone(&self.threads),
            listeners: listeners.map(|(_, listener)| Arc::new(listener)).collect(),
            exit: Arc::new(exit),
            dispatcher: Arc::new(dispatcher),
            orders: self.orders.clone(),
            outgoing: Outgoing {
                queue,
                crowd: Crowd::default(),
            },
            open: None,
            past: Vec::new(),
        })
    }
}

impl Entrance {
    /// Takes connections from now on.
    pub fn open(&mut self) {
        if self.open.is_some() {
            return;
        }
        let shift = Arc::new(Shift {
            dispatcher: Arc::clone(&self.dispatcher),
            // HTTP/2 ends before the rest, when the shift is over.
            orders: self.orders.apart(),
            over: CancellationToken::new(),
            is_over: AtomicBool::new(false),
            unaware: Crowd::default(),
            present: Crowd::default(),
            outgoing: self.outgoing.clone(),
        });
        let accepting = CancellationToken::new();
        let mut acceptors = Vec::new();
        for listener in &self.listeners {
            let listener = Arc::clone(listener);
            let (shift, threads) = (Arc::clone(&shift), Arc::clone(&self.threads));
            acceptors.push(until(&accepting, async move {
                loop {
                    let accepted = listener.accept().await;
                    let Some(accepted) = usable(accepted).await else {
                        continue;
                    };
                    give(accepted, Bytes::new(), &shift, &threads);
                    let_others().await;
                }
            }));
        }
        let exit = Arc::clone(&self.exit);
        let (taker, threads) = (Arc::clone(&shift), Arc::clone(&self.threads));
        acceptors.push(until(&accepting, async move {
            loop {
                let Some(Passing { connection, read }) = usable(exit.take().await).await else {
                    continue;
                };
                // One whose client has gone meanwhile is no connection any more.
                if let Ok(accepted) = connection.accept() {
                    give(accepted, read, &taker, &threads);
                }
                let_others().await;
            }
        }));
        self.open = Some(Open {
            shift,
            accepting,
            acceptors,
        });
    }

    /// Takes none any more. Returns when no request can begin on those that there are; they go on
    /// elsewhere as soon as what is being answered has been.
    pub async fn stand_aside(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        open.accepting.cancel();
        for acceptor in open.acceptors {
            let _ = acceptor.await;
        }
        self.past.retain(|crowd| crowd.number() > 0);
        self.past.push(open.shift.present.clone());
        open.shift.is_over.store(true, Ordering::Release);
        open.shift.over.cancel();
        if timeout(TURN, open.shift.unaware.gone()).await.is_err() {
            tracing::warn!(
                event = "thread-stuck",
                "an HTTP thread does not come back from an app's code; its connections stay there",
            );
        }
    }

    /// Takes none any more, and leaves those that there are to the end of the server.
    pub async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.accepting.cancel();
            for acceptor in open.acceptors {
                let _ = acceptor.await;
            }
        }
    }

    /// Resolves when the connections of the times that are over have ended, go on elsewhere, or are
    /// no HTTP any more. Until then one may still have a request that it had read, or HTTP/2's
    /// client had sent, before it was over.
    pub fn left(&self) -> impl Future<Output = ()> + Send + use<> {
        let past = self.past.clone();
        async move {
            join_all(past.iter().map(Crowd::gone)).await;
        }
    }

    /// Waits until all that go on elsewhere are on their way, or `deadline`.
    pub async fn flush(&self, deadline: Instant) {
        let crowd = &self.outgoing.crowd;
        if timeout_at(deadline, crowd.gone()).await.is_err() {
            tell_cut(crowd.number(), &"no worker has taken them in time");
        }
    }
}

impl Shift {
    /// Resolves when connections are to go on elsewhere.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Whether they are.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Somebody else goes on with that one.
    pub(super) fn pass(&self, passing: Passing) {
        let outgoing = &self.outgoing;
        let _ = outgoing.queue.send((passing, outgoing.crowd.add()));
    }
}

fn give(accepted: Accepted, read: Bytes, shift: &Arc<Shift>, threads: &[HttpThread]) {
    if let Some(thread) = threads.iter().min_by_key(|thread| thread.connections()) {
        thread.take_arrival(Arrival {
            accepted,
            read,
            unaware: shift.unaware.add(),
            present: shift.present.add(),
            shift: Arc::clone(shift),
        });
    }
}

fn until(
    accepting: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let accepting = accepting.clone();
    tokio::spawn(async move {
        tokio::select! {
            // First, so that nothing is taken after it.
            biased;
            () = accepting.cancelled() => {}
            () = work => {}
        }
    })
}

async fn usable<T>(taken: io::Result<T>) -> Option<T> {
    match taken {
        Ok(taken) => return Some(taken),
        Err(error) if is_passing(&error) => {}
        Err(error) => {
            tracing::warn!(
                event = "accept-failed",
                "cannot accept a connection: {error}; raise the limit of open files (ulimit -n) if \
                 that is the reason",
            );
            sleep(ACCEPT_PAUSE).await;
        }
    }
    None
}

/// Lets the other tasks of this thread run, and other workers: all of them have been woken for what
/// comes, and the first would take most of it before the next has a processor.
async fn let_others() {
    std::thread::yield_now();
    yield_now().await;
}

async fn send(way: Way, mut queued: mpsc::UnboundedReceiver<(Passing, Member)>) {
    while let Some((passing, _member)) = queued.recv().await {
        if let Err(error) = way.send(passing).await {
            tell_cut(1, &error);
        }
    }
}

fn tell_cut(connections: usize, why: &dyn std::fmt::Display) {
    tracing::warn!(
        event = "connections-cut",
        connections,
        "connections between two requests are closed, and do not go on in another worker: {why}",
    );
}
