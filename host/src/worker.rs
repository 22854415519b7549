//! One process of a group: a host of its apps that another one, the supervisor, tells what to do.
//!
//! It has two descriptors from the supervisor: the channel, and the socket on which it listens for
//! requests; and those of the sockets that its group listens on itself ([`OwnSockets`]). It loads
//! what it is told, once; a new version is a new worker.

use std::{
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

mod loaded;
mod own;
mod signals;
mod stopping;
mod upstream;

use crate::{
    admin,
    artifact::StagingArea,
    channel::{self, Begin, ChannelError, Order, Receiver, Report, Sender, Served},
    config::Config,
    dispatch::{self, Dispatcher},
    exit_code::ExitCode,
    id::{AppName, ArtifactPath},
    loader::{Post, StopReason},
    process::{self, HostThreads, Parent},
    reload::{Handle, Parts, Reloader, Superior, Wanted},
    router::Router,
    server::{Entrance, Listeners, Server},
    state::StateStore,
    telemetry,
};
use loaded::{Loaded, NotLoaded, names, refusal};
pub use own::OwnSockets;
use own::tick;
use signals::Signals;
use upstream::{Upstream, Writer};

/// How long the supervisor's death may come after the end of its channel.
const DEATH: Duration = Duration::from_secs(1);

/// Serves until the supervisor says to end, or ends itself.
pub async fn run(end: UnixStream, listener: UnixListener, own: Option<OwnSockets>) -> ExitCode {
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
    let code = match Worker::start(begin, listener, own, sender, &mut orders).await {
        Ok(worker) => worker.serve(&mut orders).await,
        Err(code) => code,
    };
    // The channel also ends when the supervisor gives this worker up, or goes on in a fresh image.
    if code == ExitCode::NoHost && parent.is_ok_and(|parent| parent.dies_within(DEATH)) {
        tracing::error!(
            event = "no-supervisor",
            "the worker ends: its supervisor is dead"
        );
        // Nobody else is left who would.
        let _ = std::fs::remove_dir_all(&staging);
        if let Some(supervisors) = staging.parent() {
            let _ = std::fs::remove_dir_all(supervisors);
        }
    }
    code
}

fn lost(error: &ChannelError) -> ExitCode {
    match error {
        // Whether that is the supervisor's death is seen at the end.
        ChannelError::Closed => tracing::debug!("the worker ends: {error}"),
        _ => tracing::error!(event = "channel-failed", reason = %error, "the worker ends: {error}"),
    }
    ExitCode::NoHost
}

/// A worker that serves.
struct Worker {
    handle: Handle,
    server: Server,
    /// Where it takes connections itself.
    entrance: Option<Entrance>,
    actor: JoinHandle<()>,
    host_threads: Arc<HostThreads>,
    apps: Vec<(AppName, ArtifactPath)>,
    drain: Duration,
    count_every: Option<Duration>,
    /// What was reported last of those who came to it itself.
    served: Vec<Served>,
    upstream: Upstream,
    writer: Writer,
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
        own: Option<OwnSockets>,
        sender: Sender<Report>,
        orders: &mut Receiver<Order>,
    ) -> Result<Self, ExitCode> {
        let (drain, count_every) = (begin.drain, begin.count_every);
        let refused = |reason| Report::Refused {
            app: None,
            reason,
            remedy: "report this as a defect of Replug".to_owned(),
        };
        let wanted = begin.clone().into_config();
        let apps = wanted
            .as_ref()
            .map_or_else(|_| Vec::new(), |(_, wanted)| names(wanted));
        let (upstream, writer) = Upstream::new(sender, &apps);
        let loaded = match wanted {
            Ok(wanted) => Self::load(begin, wanted, (listener, own), &upstream, orders).await,
            Err(reason) => Err(NotLoaded::Refused(refused(reason))),
        };
        match loaded {
            Ok(loaded) => {
                let ready = loaded.said(&apps).await;
                upstream.report(Report::Ready(ready));
                Ok(Self {
                    handle: loaded.handle,
                    server: loaded.server,
                    entrance: loaded.entrance,
                    actor: loaded.actor,
                    host_threads: loaded.host_threads,
                    apps,
                    drain,
                    count_every,
                    served: Vec::new(),
                    upstream,
                    writer,
                    reload_asked: loaded.reload_asked,
                    restart_asked: loaded.restart_asked,
                    signals: loaded.signals,
                    _removed_at_the_end: loaded.staging,
                })
            }
            Err(NotLoaded::Refused(refused)) => {
                // Who does not hear it sees that the worker has ended.
                upstream.report(refused);
                writer.finish().await;
                Err(ExitCode::Refused)
            }
            Err(NotLoaded::Lost(error)) => Err(lost(&error)),
        }
    }

    async fn load(
        begin: Begin,
        (config, wanted): (Config, Vec<Wanted>),
        (listener, own): (UnixListener, Option<OwnSockets>),
        upstream: &Upstream,
        orders: &mut Receiver<Order>,
    ) -> Result<Loaded, NotLoaded> {
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
        let config = Arc::new(config);
        let staging = StagingArea::new(config.staging_dir.as_deref())
            .map_err(|error| failed(error.to_string(), error.remedy()))?;
        let staging = Arc::new(staging);
        let store = StateStore::elsewhere(Arc::new(upstream.clone()));
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
            superior: Some(Superior {
                post,
                reload,
                chronicle: Arc::new(upstream.clone()),
            }),
        });
        if let Ok(entries) = serde_json::from_str(&registry) {
            reloader.registry().mirror(entries);
        }
        let (tell, mut told) = oneshot::channel();
        let actor = tokio::spawn(reloader.run(wanted, tell));
        let round = loop {
            tokio::select! {
                round = &mut told => break round,
                order = orders.next() => match order {
                    Ok(Order::State { call, state }) => upstream.answer(call, state),
                    // Nothing else comes before it is ready.
                    Ok(_) => {}
                    Err(error) => return Err(NotLoaded::Lost(error)),
                },
            }
        };
        if !round.is_ok_and(|round| round.refused == 0) {
            let refused = refusal(&handle).await;
            upstream.give_up();
            handle.shutdown(Instant::now()).await;
            return Err(refused.into());
        }
        let dispatcher =
            Dispatcher::new(Arc::clone(&router), admin::pages(router)).behind_a_supervisor();
        let in_front = dispatcher.in_front(begin.request_timeout);
        let server = Server::start(
            Listeners::inherited(listener).map_err(|error| failed(error.to_string(), limits))?,
            Vec::new(),
            config.threads,
            dispatcher,
            &host_threads,
        )
        .map_err(|error| failed(format!("cannot serve: {error}"), limits))?;
        let entrance = own.map(|OwnSockets { sockets, lane }| {
            // Those of all workers differ.
            dispatch::number_from(u64::from(std::process::id()) << 30);
            server.entrance(Listeners::given(sockets)?, lane, in_front)
        });
        let entrance = entrance.transpose();
        let entrance =
            entrance.map_err(|error| failed(format!("cannot accept: {error}"), limits))?;
        Ok(Loaded {
            handle,
            server,
            entrance,
            actor,
            host_threads,
            reload_asked,
            restart_asked,
            signals,
            staging,
        })
    }

    async fn serve(mut self, orders: &mut Receiver<Order>) -> ExitCode {
        let mut counts = self.count_every.map(tokio::time::interval);
        loop {
            tokio::select! {
                order = orders.next() => match order {
                    Ok(Order::Stop { reason, drain_ms }) => {
                        let drain = drain_ms.map(Duration::from_millis);
                        return self.stop(reason, drain, orders).await;
                    }
                    Ok(order) => self.obey(order).await,
                    Err(error) => return lost(&error),
                },
                () = tick(counts.as_mut()) => self.count().await,
                Some(app) = self.reload_asked.recv() => {
                    self.upstream.report(Report::ReloadAsked { app: app.to_string() });
                }
                Some(app) = self.restart_asked.recv() => {
                    self.upstream.report(Report::RestartAsked { app: app.to_string() });
                }
                signal = self.signals.next() => {
                    tracing::info!(event = "stopping", signal, "{signal}: draining");
                    self.upstream.report(Report::Ending { reason: signal.to_owned() });
                    let drain = Some(self.drain).filter(|drain| !drain.is_zero());
                    return self.stop(StopReason::Signal, drain, orders).await;
                }
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Accept => {
                if let Some(entrance) = &mut self.entrance {
                    entrance.open();
                }
            }
            Order::StandAside { time } => {
                if let Some(entrance) = &mut self.entrance {
                    entrance.stand_aside().await;
                }
                // What its successor is measured by.
                self.count().await;
                let time = Some(time);
                self.upstream.report(Report::StoodAside { time });
            }
            Order::Count { call } => self.answer_count(call).await,
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
                let (handle, upstream) = (self.handle.clone(), self.upstream.clone());
                tokio::spawn(async move {
                    let called = match AppName::try_from(app.as_str()) {
                        Ok(app) => handle.run_schedule(app, name).await,
                        Err(error) => Err(error.to_string()),
                    };
                    upstream.report(Report::RanSchedule {
                        call,
                        error: called.err(),
                    });
                });
            }
            Order::State { call, state } => self.upstream.answer(call, state),
            Order::SaveState {
                call,
                app,
                drain_ms,
            } => self.save_state(call, &app, drain_ms.map(Duration::from_millis)),
            Order::Resume { app } => {
                if let Some(path) = self.path_of(&app) {
                    self.handle.resume(path);
                }
            }
            Order::Registry(entries) => {
                if let Ok(entries) = serde_json::from_str(&entries) {
                    self.handle.mirror_registry(entries);
                }
            }
            Order::Turn { turn } => {
                let mut everywhere = self.host_threads.everywhere(|| ());
                let upstream = self.upstream.clone();
                tokio::spawn(async move {
                    everywhere.done().await;
                    upstream.report(Report::Turned { turn });
                });
            }
            // The first was the one; an end comes elsewhere.
            Order::Begin(_) | Order::Stop { .. } => {}
        }
    }

    fn path_of(&self, app: &str) -> Option<ArtifactPath> {
        let found = self.apps.iter().find(|(name, _)| name.as_str() == app);
        found.map(|(_, path)| path.clone())
    }
}
