//! `replug serve`

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    time::Instant,
};

mod options;

pub(super) use options::Options;

use super::output::{LogArgs, print_error};
use crate::{
    admin::{self, Control},
    artifact::StagingArea,
    config::{Config, ControlSocket, Mount, Source},
    dispatch::Dispatcher,
    exit_code::ExitCode,
    id::ArtifactPath,
    process::{self, HostThreads},
    reload::{FirstRound, Reloader, Wanted},
    router::Router,
    server::{Listeners, Server},
    watcher::Watcher,
};

/// How long HTTP threads may take to end once nothing is left to serve.
const THREAD_END: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Libraries, or directories of them, each with a mount if it is not to be the default: one
    /// library alone is mounted at `/`, others at `/NAME`.
    #[arg(value_name = "PATH[=MOUNT]", value_parser = options::parse_source, required = true)]
    sources: Vec<Source>,
    #[command(flatten)]
    pub(super) options: Options,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

pub(super) fn run(args: Args) -> ExitCode {
    args.log.install();
    let config = args.options.into_config(args.sources);
    with_runtime(serve(config, async |first: FirstRound| {
        if first.serving == 0 && first.refused > 0 {
            Err(ExitCode::Refused)
        } else {
            Ok(())
        }
    }))
}

/// Runs a command on the control thread's runtime.
pub(super) fn with_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            print_error(
                &format!("cannot start: {error}"),
                "raise the limit of open files (ulimit -n)",
            );
            ExitCode::CannotStart
        }
    }
}

/// Serves until a signal. `first` is told how the first round of loading went, before anything is
/// accepted, and may call it off.
pub(super) async fn serve(
    config: Config,
    first: impl AsyncFnOnce(FirstRound) -> Result<(), ExitCode>,
) -> ExitCode {
    match start(config, first).await {
        Ok(code) | Err(code) => code,
    }
}

async fn start(
    config: Config,
    first: impl AsyncFnOnce(FirstRound) -> Result<(), ExitCode>,
) -> Result<ExitCode, ExitCode> {
    let config = Arc::new(config);
    let mut signals = Signals::new()?;
    process::remember_signals();
    if let Some(reason) = process::unloading_is_off() {
        tracing::warn!(
            event = "unloading-off",
            reason,
            "old generations stay loaded"
        );
    }
    // Bound before any plugin's code runs: a port that is taken is found out at once.
    let listeners =
        Listeners::bind(&config.listen).map_err(|error| cannot_start(&error, error.remedy()))?;
    let control = bind_control(&config)?;
    let staging = StagingArea::new(config.staging_dir.as_deref())
        .map_err(|error| cannot_start(&error, error.remedy()))?;
    let (sender, watch_events) = mpsc::unbounded_channel();
    let watcher = Watcher::new(sender).map_err(|error| cannot_start(&error, error.remedy()))?;
    let router = Arc::new(Router::default());
    let staging = Arc::new(staging);
    let host_threads = Arc::new(HostThreads::default());
    let _removed = RemovedAtTheEnd(Arc::clone(&staging));
    let (mut reloader, handle) = Reloader::new(
        Arc::clone(&config),
        Arc::clone(&router),
        staging,
        Arc::clone(&host_threads),
        watcher,
        watch_events,
    );
    let _control = match control
        .map(|control| control.serve(handle.clone()))
        .transpose()
    {
        Ok(control) => control,
        Err(error) => return Err(cannot_start(&error, "raise the limit of open files")),
    };
    let wanted = wanted(&config.sources, &mut reloader)?;
    let (tell, told) = oneshot::channel();
    let actor = tokio::spawn(reloader.run(wanted, tell));
    let round = tokio::select! {
        round = told => round.map_err(|_| ExitCode::Failure)?,
        signal = signals.next() => {
            tracing::info!(event = "stopping", signal, "{signal}: stopping before anything was served");
            handle.shutdown(Instant::now()).await;
            return Ok(ExitCode::Ok);
        }
    };
    if let Err(code) = first(round).await {
        handle.shutdown(Instant::now()).await;
        return Err(code);
    }
    let addresses = listeners.addresses();
    let dispatcher = Dispatcher::new(Arc::clone(&router), admin::pages(router));
    let server =
        Server::start(listeners, config.threads, dispatcher, &host_threads).map_err(|error| {
            cannot_start(
                &format!("cannot start: {error}"),
                "raise the limits of threads and open files",
            )
        })?;
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
        "ready: {} apps serve, {} artifacts were refused",
        round.serving,
        round.refused,
    );
    let signal = signals.next().await;
    tracing::info!(
        event = "stopping",
        signal,
        "{signal}: draining; once more to stop at once"
    );
    let graceful = async {
        let deadline = Instant::now() + config.defaults.drain;
        handle.announce_shutdown();
        server.drain(deadline).await;
        handle.shutdown(deadline).await;
        server.stop(Instant::now() + THREAD_END).await;
        let _ = actor.await;
    };
    tokio::select! {
        () = graceful => {
            tracing::info!(event = "stopped", "stopped");
            Ok(ExitCode::Ok)
        }
        signal = signals.next() => {
            tracing::warn!(event = "stopped-at-once", signal, "{signal}: stopping at once");
            Ok(if signal == "SIGINT" { ExitCode::Interrupted } else { ExitCode::Terminated })
        }
    }
}

/// The control socket. The usual place may be another host's; then this one does without.
fn bind_control(config: &Config) -> Result<Option<Control>, ExitCode> {
    let Some(place) = &config.control else {
        return Ok(None);
    };
    match (Control::bind(place), place) {
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

fn cannot_start(error: &dyn std::fmt::Display, remedy: &str) -> ExitCode {
    tracing::error!(event = "cannot-start", reason = %error, remedy, "cannot start");
    ExitCode::CannotStart
}

/// What the sources come to, watched from now on.
fn wanted(sources: &[Source], reloader: &mut Reloader) -> Result<Vec<Wanted>, ExitCode> {
    let alone = sources.len() == 1;
    let mut wanted: Vec<Wanted> = Vec::new();
    for Source { path, mount } in sources {
        if path.is_dir() {
            if let Some(mount) = mount {
                return Err(cannot_start(
                    &format!(
                        "{} is a directory, and cannot be mounted at {mount}",
                        path.display()
                    ),
                    "a directory's libraries are mounted at `/` and their names; name the library",
                ));
            }
            let found = reloader
                .watch_directory(path)
                .map_err(|error| cannot_start(&error, error.remedy()))?;
            if found.is_empty() {
                no_plugins(path);
            }
            wanted.extend(found.into_iter().map(|path| Wanted { path, mount: None }));
            continue;
        }
        let path = ArtifactPath::new(path)
            .map_err(|error| cannot_start(&error, "name a file by its path"))?;
        reloader
            .watch_artifact(&path)
            .map_err(|error| cannot_start(&error, error.remedy()))?;
        let mount = mount.clone().or_else(|| alone.then(Mount::root));
        wanted.push(Wanted { path, mount });
    }
    let mut seen = std::collections::HashSet::new();
    wanted.retain(|wanted| seen.insert(wanted.path.clone()));
    Ok(wanted)
}

fn no_plugins(path: &Path) {
    tracing::warn!(
        event = "no-plugins",
        path = %path.display(),
        reason = format!("no file in it ends in .{}", std::env::consts::DLL_EXTENSION),
        remedy = "build a plugin and copy its library there: it is served as soon as it is there",
        "no plugins in {}",
        path.display(),
    );
}

/// The signals that end the host.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, ExitCode> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                cannot_start(
                    &format!("cannot wait for signals: {error}"),
                    "see the system's log",
                )
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
