//! One worker process, from its start to its end.

use std::{
    io,
    ops::Deref,
    os::fd::AsFd as _,
    os::unix::net::{UnixListener, UnixStream as StdUnixStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

mod ready;

use super::{crew::Plan, log::Log, socket_of, spawn};
use crate::{
    channel::{Order, Ready, Receiver, Report, Sender},
    loader::StopReason,
    process::child::Child,
    reload::{LaunchError, StateAsk},
    workers::{Death, Worker},
};

/// How long a process that was killed may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// Where workers that are being started ask for the state of those before.
pub(super) type Asks = mpsc::UnboundedSender<StateAsk>;

/// A worker that is ready: its process, and the way to it.
pub(super) struct Hand {
    pub(super) worker: Arc<Worker>,
    // Before the channel: see there.
    child: Owned,
    log: Log,
    sender: Sender<Order>,
    receiver: Receiver<Report>,
}

/// A process that is killed when nobody has it any more. Before its channel is closed: it would take
/// that for the supervisor's end, and remove what the supervisor has left.
struct Owned {
    child: Child,
    is_kept: bool,
}

impl Owned {
    fn new(child: Child) -> Self {
        let is_kept = false;
        Self { child, is_kept }
    }
}

impl Deref for Owned {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.is_kept {
            // It has ended already, if that fails.
            let _ = self.child.signal(Signal::KILL);
        }
    }
}

/// What a worker, or its end, tells the crew.
#[derive(Debug)]
pub(super) enum News {
    Said(Report),
    Died(Death),
}

impl Hand {
    /// Starts a worker and waits until it is ready; what its apps said comes with it. On an error
    /// nothing of it is left.
    pub(super) async fn start(
        plan: &Plan,
        number: u32,
        serial: u64,
        asks: &Asks,
    ) -> Result<(Self, Vec<Ready>), LaunchError> {
        let socket = socket_of(&plan.dir, serial);
        let failed = |reason: String| LaunchError {
            app: None,
            reason: format!("worker {number}: {reason}"),
            remedy: "raise the limits of processes and open files; the system's words are above"
                .to_owned(),
        };
        let Begun { child, log, end } = begin(plan, number, &socket).await?;

        let answer = ready::begin(plan, number, end, &child, asks).await;
        let error = match answer {
            Ok(Ok((sender, receiver, Report::Ready(ready)))) => {
                // Without it, less is known of how a request was lost.
                let process = child.as_fd().try_clone_to_owned().ok();
                // A thread that hangs in an app's code holds up one of them only.
                let trunks = plan.begin.threads.get();
                let hand = Self {
                    worker: Worker::new(number, child.pid(), process, socket, trunks),
                    child: Owned::new(child),
                    log,
                    sender,
                    receiver,
                };
                return Ok((hand, ready));
            }
            Ok(Ok((
                _,
                _,
                Report::Refused {
                    app,
                    reason,
                    remedy,
                },
            ))) => LaunchError {
                app: app.and_then(|app| plan.path_of(&app)),
                reason,
                remedy,
            },
            Ok(Ok((_, _, report))) => failed(format!("it says {report:?} before it is ready")),
            Ok(Err(error)) => {
                // It says more by its end, if it has come to one.
                let death = timeout(GONE, child.wait()).await;
                let how = match death {
                    Ok(status) => format!("it {} before it was ready", Death::from(status)),
                    Err(_) => error.to_string(),
                };
                LaunchError {
                    remedy:
                        "see what it wrote to the log before it died, and what its apps' setup \
                             does"
                            .to_owned(),
                    ..failed(how)
                }
            }
            Err(within) => LaunchError {
                remedy: "start what takes long in a task of its own, or raise the group's \
                         startup-timeout"
                    .to_owned(),
                ..failed(format!("it was not ready within {within:?}"))
            },
        };
        kill(&child).await;
        log.end().await;
        let _ = std::fs::remove_file(socket_of(&plan.dir, serial));
        Err(error)
    }

    /// Kills it, and waits until it is gone.
    pub(super) async fn end(self) {
        kill(&self.child).await;
        let _ = std::fs::remove_file(&self.worker.socket);
    }

    /// Serves the worker to its end: passes orders on, and its reports. `killed`: it is to be
    /// killed.
    pub(super) async fn run(
        self,
        mut orders: mpsc::UnboundedReceiver<Order>,
        told: impl Fn(News),
        killed: CancellationToken,
        plan: &Plan,
    ) {
        let Self {
            worker,
            child,
            log,
            mut sender,
            mut receiver,
        } = self;
        // When it must have ended.
        let mut deadline: Option<Instant> = None;
        let mut is_drained = false;
        let mut is_stopping = false;
        let mut is_killed = false;
        let mut listening = true;
        let status = loop {
            tokio::select! {
                () = killed.cancelled(), if !is_killed => {
                    is_killed = true;
                    // It has ended already, if that fails.
                    let _ = child.signal(Signal::KILL);
                }
                status = child.wait() => break status,
                report = receiver.next(), if listening => match report {
                    Ok(Report::Drained) => {
                        is_drained = true;
                        if is_stopping {
                            let end = within(Some(0), plan.options.shutdown_timeout);
                            deadline = deadline.into_iter().chain(end).min();
                        }
                    }
                    Ok(report) => told(News::Said(report)),
                    // Its end is on the way, or it is of no use any more.
                    Err(_) => {
                        listening = false;
                        let soon = Instant::now() + GONE;
                        deadline = Some(deadline.map_or(soon, |known| known.min(soon)));
                    }
                },
                order = orders.recv(), if listening => {
                    // Nobody is there to give any: it is to end.
                    let order = order.unwrap_or(Order::Stop {
                        reason: StopReason::HostShutdown,
                        drain_ms: Some(0),
                    });
                    if let Order::Stop { drain_ms, .. } = &order {
                        is_stopping = true;
                        let drain_ms = if is_drained { Some(0) } else { *drain_ms };
                        deadline = within(drain_ms, plan.options.shutdown_timeout);
                    }
                    // Not sent in a select: a message sent in part would be the last.
                    if sender.send(&order).await.is_err() {
                        listening = false;
                    }
                },
                () = until(deadline) => {
                    tracing::warn!(
                        event = "worker-killed",
                        group = plan.group.as_str(),
                        worker = worker.number,
                        pid = worker.pid,
                        "worker {} (pid {}) did not end in time, and is killed",
                        worker.number,
                        worker.pid,
                    );
                    kill(&child).await;
                    break child.wait().await;
                }
            }
        };
        // What it said last comes before its death; there is an end to it, since it is dead.
        while listening && let Ok(Ok(report)) = timeout(GONE, receiver.next()).await {
            told(News::Said(report));
        }
        log.end().await;
        let _ = std::fs::remove_file(&worker.socket);
        told(News::Died(status.into()));
    }
}

/// When a worker must have ended that is told to end now; `None`: at any time.
fn within(drain_ms: Option<u64>, shutdown_timeout: Duration) -> Option<Instant> {
    if shutdown_timeout.is_zero() {
        return None;
    }
    let drain = Duration::from_millis(drain_ms?);
    Instant::now()
        .checked_add(drain)?
        .checked_add(shutdown_timeout)
}

/// A process that has been started.
struct Begun {
    child: Child,
    log: Log,
    end: StdUnixStream,
}

async fn begin(plan: &Plan, number: u32, socket: &Path) -> Result<Begun, LaunchError> {
    let (ours, theirs, listener) = sockets(plan, socket).map_err(|error| LaunchError {
        app: None,
        reason: format!("worker {number} has no sockets: {error}"),
        remedy: "raise the limit of open files, and see that the staging directory's path is \
                 short: a socket's may have 107 bytes"
            .to_owned(),
    })?;
    let (child, log) = spawn::spawn(plan, number, theirs.into(), listener.into()).await?;
    Ok(Begun {
        child,
        log,
        end: ours,
    })
}

/// Both ends of a channel, and the socket that the worker is to listen on.
fn sockets(plan: &Plan, socket: &Path) -> io::Result<(StdUnixStream, StdUnixStream, UnixListener)> {
    let listener = UnixListener::bind(socket)?;
    if plan.options.backlog > 0 {
        // Once more, since the standard library has a number of its own.
        let backlog = i32::try_from(plan.options.backlog).unwrap_or(i32::MAX);
        rustix::net::listen(&listener, backlog)?;
    }
    let (ours, theirs) = StdUnixStream::pair()?;
    Ok((ours, theirs, listener))
}

async fn kill(child: &Child) {
    // It has ended already, if that fails.
    let _ = child.signal(Signal::KILL);
    let _ = timeout(GONE, child.wait()).await;
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
