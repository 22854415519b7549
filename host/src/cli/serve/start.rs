//! A host, from its start to its end.

use std::{path::PathBuf, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    asides::Asides,
    estate::Estate,
    own_sockets,
    program::Program,
    recipe::Recipe,
    running::Running,
    signals::{Signal, Signals},
    wanted::{tell_strangers, wanted},
    wishes::{End, Wishes},
};
use crate::{
    admin::{self, Control, HostAnswer, Image},
    artifact::StagingArea,
    config::{Config, ControlSocket},
    dispatch::Dispatcher,
    exit_code::ExitCode,
    id::AppName,
    process::{self, HostThreads},
    registry::Registry,
    reload::{FirstRound, Handle, Launcher, Parts, Reloader},
    router::Router,
    server::{Heirloom, Listeners, Server},
    state::StateStore,
    supervisor::{self, Cgroups, Sizes, Supervisor},
    telemetry,
    watcher::Watcher,
};

/// How a host ended.
pub(in crate::cli) enum Ended {
    For(ExitCode),
    /// It goes on with that.
    Before(Estate),
}

pub(super) async fn start(
    config: &Arc<Config>,
    recipe: &Arc<Recipe>,
    estate: Estate,
    program: &Program,
    first: impl AsyncFnOnce(FirstRound) -> Result<(), ExitCode>,
) -> Result<Ended, ExitCode> {
    if let Some(path) = &config.log_file {
        telemetry::log_to(path).map_err(|error| cannot_start(&error, error.remedy()))?;
    }
    let signals = Signals::new()?;
    process::remember_signals();
    if let Some(reason) = process::unloading_is_off() {
        tracing::warn!(
            event = "unloading-off",
            reason,
            "old generations stay loaded"
        );
    }
    for (name, group) in &config.groups {
        // What the system would refuse to each worker is found out at once.
        group
            .permitted()
            .map_err(|error| cannot_start(&format!("group `{name}`: {error}"), error.remedy()))?;
    }
    no_app_names(config);
    let cgroups = Cgroups::default();
    for (name, group) in &config.groups {
        // Before a worker is there that would have to go elsewhere, too.
        cgroups.of(name, group).map_err(|error| {
            let reason = format!("group `{name}` (cgroup = \"{}\"): {error}", group.cgroup);
            cannot_start(&reason, error.remedy())
        })?;
    }
    // Bound before any plugin's code runs: a port that is taken is found out at once.
    let mut listeners = Listeners::bind(&own_sockets::all_addresses(config), estate.sockets)
        .map_err(|error| cannot_start(&error, error.remedy()))?;
    let heirlooms = listeners.heirlooms().map_err(|error| {
        cannot_start(
            &format!("cannot keep the sockets: {error}"),
            "raise the limit of open files (ulimit -n)",
        )
    })?;
    let addresses = listeners.addresses();
    let (sockets, lanes) = own_sockets::apart(config, &mut listeners, estate.lanes)?;
    let control = bind_control(config, estate.control)?;
    let staging = StagingArea::new(config.staging_dir.as_deref())
        .map_err(|error| cannot_start(&error, error.remedy()))?;
    let (sender, watch_events) = mpsc::unbounded_channel();
    let watcher = Watcher::new(sender).map_err(|error| cannot_start(&error, error.remedy()))?;
    watcher.poll_all(config.defaults.poll);
    let router = Arc::new(Router::default());
    let staging = Arc::new(staging);
    let host_threads = Arc::new(HostThreads::default());
    let _removed = RemovedAtTheEnd(Arc::clone(&staging));
    let borrowed = BorrowedState::new(config, estate.state);
    let state_dir = config.state_dir.as_deref().or(borrowed.0.as_deref());
    let store =
        StateStore::open(state_dir).map_err(|error| cannot_start(&error, error.remedy()))?;
    let store = Arc::new(store);
    // Room for one: that there is a wish is all that matters.
    let (restart, apps) = mpsc::channel(1);
    let (tell_registry, registry) = watch::channel(Arc::from("[]"));
    let (wish, wished) = mpsc::unbounded_channel();
    let sizes = Sizes::default();
    let asides = Asides::new(sizes.clone())?;
    let supervisor = Supervisor::new(
        Arc::clone(&staging),
        wish,
        registry,
        Arc::clone(&store),
        sizes,
        cgroups,
        sockets,
    );
    let supervisor = Arc::new(supervisor) as Arc<dyn Launcher>;
    let (mut reloader, handle) = Reloader::new(Parts {
        config: Arc::clone(config),
        router: Arc::clone(&router),
        staging: Arc::clone(&staging),
        host_threads: Arc::clone(&host_threads),
        watcher: Some(watcher),
        watch_events,
        store: Arc::clone(&store),
        restart: restart.clone(),
        launcher: Some(supervisor),
        superior: None,
    });
    let (command, commands) = mpsc::unbounded_channel();
    let (tell_image, image) = watch::channel(None);
    let control = match control
        .map(|control| control.serve(handle.clone(), command, image))
        .transpose()
    {
        Ok(control) => control,
        Err(error) => return Err(cannot_start(&error, "raise the limit of open files")),
    };
    tokio::spawn(asides.run());
    tokio::spawn(tell_workers(reloader.registry(), tell_registry));
    tokio::spawn(pass_on(wished, handle.clone(), restart));
    let wanted = wanted(config, &mut reloader)?;
    let (tell, told) = oneshot::channel();
    let actor = tokio::spawn(reloader.run(wanted, tell));
    let mut wishes = Wishes::new(signals, commands, apps, estate.restarts > 0);
    let round = tokio::select! {
        round = told => round.map_err(|_| ExitCode::Failure)?,
        end = wishes.end() => {
            let who = match end {
                End::Stop(who) => who.to_string(),
                End::AtOnce(signal) => signal.name().to_owned(),
            };
            tracing::info!(event = "stopping", signal = who, "{who}: stopping before anything was served");
            wishes.answer_all(HostAnswer::ending());
            handle.shutdown(Instant::now()).await;
            return Ok(Ended::For(ExitCode::Ok));
        }
    };
    if let Err(code) = first(round).await {
        handle.shutdown(Instant::now()).await;
        return Err(code);
    }
    if let Some(status) = handle.status().await {
        tell_strangers(config, &status);
    }
    let dispatcher = Dispatcher::new(Arc::clone(&router), admin::pages(router));
    let server = Server::start(
        listeners,
        estate.connections,
        config.threads,
        dispatcher,
        &host_threads,
    )
    .map_err(|error| {
        cannot_start(
            &format!("cannot start: {error}"),
            "raise the limits of threads and open files",
        )
    })?;
    tell_ready(&addresses, round, estate.restarts);
    tell_image.send_replace(Some(Image {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        restarts: estate.restarts,
        failed: estate.failed,
    }));
    let host = Running {
        handle,
        server,
        actor,
        heirlooms,
        config: Arc::clone(config),
        recipe: Arc::clone(recipe),
        restarts: estate.restarts,
    };
    let legacy = match host.run(&mut wishes, program, &tell_image).await {
        Err(signal) => return Ok(Ended::For(at_once(signal))),
        Ok(None) => return Ok(Ended::For(ExitCode::Ok)),
        Ok(Some(legacy)) => legacy,
    };
    let control = match control {
        Some(control) => Some(control.hand_on().await),
        None => None,
    };
    let mut left = Estate {
        sockets: legacy.heirlooms.hand_on(),
        control,
        lanes,
        connections: legacy.unheard,
        state: borrowed.hand_on(config, &store),
        restarts: estate.restarts + 1,
        failed: legacy.failed,
    };
    left.limit();
    Ok(Ended::Before(left))
}

/// Says which groups are there for nobody: a name may be a slip.
pub(super) fn no_app_names(config: &Config) {
    for name in config
        .groups
        .keys()
        .filter(|name| !config.names_group(name))
    {
        tracing::warn!(
            event = "no-app",
            group = name.as_str(),
            remedy = "set `group` for an app, or remove the group",
            "no app names group `{name}`",
        );
    }
}

/// Tells the workers of groups what apps have registered.
async fn tell_workers(registry: Arc<Registry>, tell: watch::Sender<Arc<str>>) {
    let mut changes = registry.changes();
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        let entries = serde_json::to_string(&registry.all());
        // Values that came as JSON are JSON.
        tell.send_replace(entries.unwrap_or_else(|_| "[]".to_owned()).into());
    }
}

/// Does what apps in workers want of the host.
async fn pass_on(
    mut wished: mpsc::UnboundedReceiver<supervisor::Wish>,
    handle: Handle,
    restart: mpsc::Sender<AppName>,
) {
    while let Some(wish) = wished.recv().await {
        match wish {
            supervisor::Wish::Reload(path) => handle.app_asked(path),
            // Where one is wished for already, or the host ends anyway, it need not be told.
            supervisor::Wish::Restart(app) => drop(restart.try_send(app)),
        }
    }
}

fn at_once(signal: Signal) -> ExitCode {
    let name = signal.name();
    tracing::warn!(
        event = "stopped-at-once",
        signal = name,
        "{name}: stopping at once"
    );
    signal.code()
}

fn tell_ready(addresses: &[String], round: FirstRound, restarts: u64) {
    for address in addresses {
        let shown = if address.starts_with("unix:") {
            address.clone()
        } else {
            format!("http://{address}/")
        };
        tracing::info!(event = "listening", address, "listening on {shown}");
    }
    tracing::info!(
        event = "ready",
        serving = round.serving,
        refused = round.refused,
        restarts,
        "ready: {} apps serve, {} artifacts were refused",
        round.serving,
        round.refused,
    );
}

/// Where a host without a directory for state has it from the image before; removed at its end,
/// unless it goes on once more.
struct BorrowedState(Option<PathBuf>);

impl BorrowedState {
    fn new(config: &Config, left: Option<PathBuf>) -> Self {
        Self(left.filter(|_| config.state_dir.is_none()))
    }

    /// The directory for the next image, with all that is known.
    fn hand_on(mut self, config: &Config, store: &StateStore) -> Option<PathBuf> {
        if config.state_dir.is_some() {
            return None;
        }
        if let Some(dir) = self.0.take() {
            // All was written there as it was saved.
            return Some(dir);
        }
        let made = tempfile::Builder::new().prefix("replug-state-").tempdir();
        let dir = match made {
            Ok(dir) => dir.keep(),
            Err(error) => {
                tracing::error!(event = "state-lost", "cannot keep apps' state: {error}");
                return None;
            }
        };
        if let Err(error) = store.copy_to(&dir) {
            let remedy = error.remedy();
            tracing::error!(
                event = "state-lost",
                remedy,
                "cannot keep apps' state: {error}"
            );
        }
        Some(dir)
    }
}

impl Drop for BorrowedState {
    fn drop(&mut self) {
        if let Some(dir) = &self.0 {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

/// The control socket. The usual place may be another host's; then this one does without.
fn bind_control(config: &Config, left: Option<Heirloom>) -> Result<Option<Control>, ExitCode> {
    let Some(place) = &config.control else {
        return Ok(None);
    };
    match (Control::bind(place, left), place) {
        (Ok(control), _) => {
            tracing::info!(event = "control", path = %place, "taking commands on {place}");
            Ok(Some(control))
        }
        (Err(error), ControlSocket::Named(_)) => Err(cannot_start(&error, error.remedy())),
        (Err(error), ControlSocket::Usual(_)) => {
            tracing::warn!(
                event = "no-control",
                reason = %error,
                remedy = error.remedy(),
                "`replug status` and `replug reload` do not reach this host",
            );
            Ok(None)
        }
    }
}

/// Threads that are still copying or setting up do not keep the private copies from going.
struct RemovedAtTheEnd(Arc<StagingArea>);

impl Drop for RemovedAtTheEnd {
    fn drop(&mut self) {
        self.0.remove();
    }
}

pub(super) fn cannot_start(error: &dyn std::fmt::Display, remedy: &str) -> ExitCode {
    tracing::error!(event = "cannot-start", reason = %error, remedy, "cannot start");
    ExitCode::CannotStart
}
