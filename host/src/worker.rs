//! One process of a group: a host of its apps that another one, the supervisor, tells what to do.
//!
//! It has two descriptors from the supervisor: the channel, and the socket on which it listens for
//! requests. It loads what it is told, once; a new version is a new worker.

use std::{
    io,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    admin,
    artifact::StagingArea,
    channel::{self, Begin, ChannelError, Order, Ready, Receiver, Report, Sender},
    dispatch::Dispatcher,
    exit_code::ExitCode,
    id::{AppName, ArtifactPath},
    loader::{Post, StopReason},
    process::{self, HostThreads, Parent},
    reload::{Handle, Parts, Reloader, Superior, Wanted},
    router::Router,
    server::{Listeners, Server},
    state::StateStore,
    telemetry,
};

/// How long HTTP threads may take to end once nothing is left to serve.
const THREAD_END: Duration = Duration::from_secs(2);

/// How long the supervisor's death may come after the end of its channel.
const DEATH: Duration = Duration::from_secs(1);

/// Serves until the supervisor says to end, or ends itself.
pub async fn run(end: UnixStream, listener: UnixListener) -> ExitCode {
    process::remember_signals();
    let parent = Parent::now();
    let (sender, mut orders) = match channel::open(end).await {
        Ok(channel) => channel,
        Err(error) => return lost(&error),
    };
    let begin = match orders.next().await {
        Ok(Order::Begin(begin)) => *begin,
        Ok(_) => return ExitCode::Failure,
        Err(error) => return lost(&error),
    };
    telemetry::name_worker(&begin.group, begin.number);
    let staging: PathBuf = begin.staging.clone().into();
    let code = match Worker::start(begin, listener, sender).await {
        Ok(worker) => worker.serve(&mut orders).await,
        Err(code) => code,
    };
    // The channel also ends when the supervisor gives this worker up, or goes on in a fresh image.
    if code == ExitCode::NoHost && parent.is_ok_and(|parent| parent.dies_within(DEATH)) {
        // Nobody else is left who would.
        let _ = std::fs::remove_dir_all(&staging);
        if let Some(supervisors) = staging.parent() {
            let _ = std::fs::remove_dir_all(supervisors);
        }
    }
    code
}

fn lost(error: &ChannelError) -> ExitCode {
    tracing::error!(event = "no-supervisor", reason = %error, "the worker ends: {error}");
    ExitCode::NoHost
}

/// A worker that serves.
struct Worker {
    handle: Handle,
    server: Server,
    actor: JoinHandle<()>,
    host_threads: Arc<HostThreads>,
    apps: Vec<(AppName, ArtifactPath)>,
    drain: Duration,
    reports: mpsc::UnboundedSender<Report>,
    /// Writes the reports.
    writer: JoinHandle<()>,
    reload_asked: mpsc::UnboundedReceiver<AppName>,
    restart_asked: mpsc::Receiver<AppName>,
    signals: Signals,
    /// Removes the worker's files when the last who has it drops it.
    _removed_at_the_end: Arc<StagingArea>,
}

impl Worker {
    async fn start(
        begin: Begin,
        listener: UnixListener,
        mut sender: Sender<Report>,
    ) -> Result<Self, ExitCode> {
        let drain = begin.drain;
        match Self::load(begin, listener).await {
            Ok(loaded) => {
                let ready = loaded.said().await;
                if let Err(error) = sender.send(&Report::Ready(ready)).await {
                    return Err(lost(&error));
                }
                Ok(loaded.into_worker(sender, drain))
            }
            Err(refused) => {
                // Who does not hear it sees that the worker has ended.
                let _ = sender.send(&refused).await;
                Err(ExitCode::Refused)
            }
        }
    }

    async fn load(begin: Begin, listener: UnixListener) -> Result<Loaded, Report> {
        let failed = |reason: String, remedy: &str| Report::Refused {
            app: None,
            reason,
            remedy: remedy.to_owned(),
        };
        let limits = "raise the limits of threads and open files";
        let signals = Signals::new().map_err(|error| failed(error.to_string(), limits))?;
        let post = Post {
            group: begin.group.clone(),
            worker: begin.number,
        };
        let registry = begin.registry.clone();
        let (config, wanted) = begin
            .into_config()
            .map_err(|reason| failed(reason, "report this as a defect of Replug"))?;
        let config = Arc::new(config);
        let staging = StagingArea::new(config.staging_dir.as_deref())
            .map_err(|error| failed(error.to_string(), error.remedy()))?;
        let staging = Arc::new(staging);
        let store =
            StateStore::open(None).map_err(|error| failed(error.to_string(), error.remedy()))?;
        let router = Arc::new(Router::default());
        let host_threads = Arc::new(HostThreads::default());
        let (restart, restart_asked) = mpsc::channel(1);
        let (reload, reload_asked) = mpsc::unbounded_channel();
        let (reloader, handle) = Reloader::new(Parts {
            config: Arc::clone(&config),
            router: Arc::clone(&router),
            staging: Arc::clone(&staging),
            host_threads: Arc::clone(&host_threads),
            watcher: None,
            watch_events: mpsc::unbounded_channel().1,
            store: Arc::new(store),
            restart,
            launcher: None,
            superior: Some(Superior { post, reload }),
        });
        if let Ok(entries) = serde_json::from_str(&registry) {
            reloader.registry().mirror(entries);
        }
        let apps = names(&wanted);
        let (tell, told) = oneshot::channel();
        let actor = tokio::spawn(reloader.run(wanted, tell));
        let round = told.await;
        if !round.is_ok_and(|round| round.refused == 0) {
            let refused = refusal(&handle).await;
            handle.shutdown(Instant::now()).await;
            return Err(refused);
        }
        let dispatcher =
            Dispatcher::new(Arc::clone(&router), admin::pages(router)).behind_a_supervisor();
        let server = Server::start(
            Listeners::inherited(listener).map_err(|error| failed(error.to_string(), limits))?,
            Vec::new(),
            config.threads,
            dispatcher,
            &host_threads,
        )
        .map_err(|error| failed(format!("cannot serve: {error}"), limits))?;
        Ok(Loaded {
            handle,
            server,
            actor,
            host_threads,
            apps,
            reload_asked,
            restart_asked,
            signals,
            staging,
        })
    }

    async fn serve(mut self, orders: &mut Receiver<Order>) -> ExitCode {
        loop {
            tokio::select! {
                order = orders.next() => match order {
                    Ok(Order::Stop { reason, drain_ms }) => {
                        let drain = drain_ms.map(Duration::from_millis);
                        return self.stop(reason, drain, orders).await;
                    }
                    Ok(order) => self.obey(order),
                    Err(error) => return lost(&error),
                },
                Some(app) = self.reload_asked.recv() => {
                    self.report(Report::ReloadAsked { app: app.to_string() });
                }
                Some(app) = self.restart_asked.recv() => {
                    self.report(Report::RestartAsked { app: app.to_string() });
                }
                signal = self.signals.next() => {
                    tracing::info!(event = "stopping", signal, "{signal}: draining");
                    self.report(Report::Ending { reason: signal.to_owned() });
                    let drain = Some(self.drain).filter(|drain| !drain.is_zero());
                    return self.stop(StopReason::Signal, drain, orders).await;
                }
            }
        }
    }

    fn obey(&self, order: Order) {
        match order {
            Order::Announce { app, reason } => {
                if let Some(path) = self.path_of(&app) {
                    self.handle.announce_end_of(path, reason);
                }
            }
            Order::Leave { app } => {
                if let Some(path) = self.path_of(&app) {
                    self.handle.remove(path);
                }
            }
            Order::RunSchedule { call, app, name } => {
                let (handle, reports) = (self.handle.clone(), self.reports.clone());
                tokio::spawn(async move {
                    let called = match AppName::try_from(app.as_str()) {
                        Ok(app) => handle.run_schedule(app, name).await,
                        Err(error) => Err(error.to_string()),
                    };
                    // Nobody hears it who has ended meanwhile.
                    let _ = reports.send(Report::RanSchedule {
                        call,
                        error: called.err(),
                    });
                });
            }
            Order::Registry(entries) => {
                if let Ok(entries) = serde_json::from_str(&entries) {
                    self.handle.mirror_registry(entries);
                }
            }
            Order::Turn { turn } => {
                let mut everywhere = self.host_threads.everywhere(|| ());
                let reports = self.reports.clone();
                tokio::spawn(async move {
                    everywhere.done().await;
                    let _ = reports.send(Report::Turned { turn });
                });
            }
            // The first was the one; an end comes elsewhere.
            Order::Begin(_) | Order::Stop { .. } => {}
        }
    }

    /// Finishes what is under way, and stops all apps. What the supervisor says meanwhile is heard
    /// for its end only: a worker does not outlive it.
    async fn stop(
        self,
        reason: StopReason,
        drain: Option<Duration>,
        orders: &mut Receiver<Order>,
    ) -> ExitCode {
        let deadline = drain.and_then(|drain| Instant::now().checked_add(drain));
        // A century is as long as it takes.
        let deadline =
            deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_155_760_000));
        let ended = async {
            self.handle.announce_shutdown(reason);
            self.server.drain(deadline).await;
            self.handle.shutdown(deadline).await;
            self.server.stop(Instant::now() + THREAD_END).await;
            let _ = self.actor.await;
            drop(self.reports);
            let _ = self.writer.await;
        };
        let deaf = async { while orders.next().await.is_ok() {} };
        tokio::select! {
            () = ended => ExitCode::Ok,
            () = deaf => ExitCode::NoHost,
        }
    }

    fn path_of(&self, app: &str) -> Option<ArtifactPath> {
        let found = self.apps.iter().find(|(name, _)| name.as_str() == app);
        found.map(|(_, path)| path.clone())
    }

    fn report(&self, report: Report) {
        // The supervisor's end is noticed where orders come.
        let _ = self.reports.send(report);
    }
}

/// A worker whose apps serve, and whose supervisor does not know it yet.
struct Loaded {
    handle: Handle,
    server: Server,
    actor: JoinHandle<()>,
    host_threads: Arc<HostThreads>,
    apps: Vec<(AppName, ArtifactPath)>,
    reload_asked: mpsc::UnboundedReceiver<AppName>,
    restart_asked: mpsc::Receiver<AppName>,
    signals: Signals,
    staging: Arc<StagingArea>,
}

impl Loaded {
    /// What the apps said in their setup.
    async fn said(&self) -> Vec<Ready> {
        let mut said = self.handle.said().await;
        let apps = self.apps.iter();
        apps.map(|(name, path)| Ready::new(name, said.remove(path).unwrap_or_default()))
            .collect()
    }

    fn into_worker(self, mut sender: Sender<Report>, drain: Duration) -> Worker {
        let (reports, mut written) = mpsc::unbounded_channel();
        let writer = tokio::spawn(async move {
            while let Some(report) = written.recv().await {
                if sender.send(&report).await.is_err() {
                    return;
                }
            }
        });
        Worker {
            handle: self.handle,
            server: self.server,
            actor: self.actor,
            host_threads: self.host_threads,
            apps: self.apps,
            drain,
            reports,
            writer,
            reload_asked: self.reload_asked,
            restart_asked: self.restart_asked,
            signals: self.signals,
            _removed_at_the_end: self.staging,
        }
    }
}

fn names(wanted: &[Wanted]) -> Vec<(AppName, ArtifactPath)> {
    let named = wanted.iter();
    named
        .filter_map(|wanted| Some((wanted.name.clone()?, wanted.path.clone())))
        .collect()
}

/// Why an app does not serve: of the first that does not.
async fn refusal(handle: &Handle) -> Report {
    let status = handle.status().await;
    let apps = status.map(|status| status.apps).unwrap_or_default();
    let refused = apps
        .into_iter()
        .find_map(|app| Some((app.name, app.refused?)));
    match refused {
        Some((app, refused)) => Report::Refused {
            app: Some(app),
            reason: refused.reason,
            remedy: refused.remedy,
        },
        None => Report::Refused {
            app: None,
            reason: "its apps were not loaded".to_owned(),
            remedy: "the log before this line says more".to_owned(),
        },
    }
}

/// The signals by which somebody else than the supervisor ends a worker.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
