//! `replug dev`: build, serve, and on every save rebuild and reload.
//!
//! The loop only runs cargo. That the artifact is new is seen by the same watcher that serves
//! deploys, so that what works here works there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::sync::{mpsc, oneshot};

mod cargo;
mod sources;

use super::{
    output::{LogArgs, print_error},
    serve::{self, Ended, Estate, Program},
};
use crate::{
    config::{AppOptions, Source},
    exit_code::ExitCode,
    id::ArtifactPath,
    watcher::{WatchEvent, Watcher},
};
use cargo::{Build, Built, Project};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The plugin's directory: the one with its Cargo.toml.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The package to build, where the directory is a workspace with several plugins.
    #[arg(short, long)]
    package: Option<String>,
    /// Build with the release profile.
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    options: serve::Options,
    #[command(flatten)]
    log: LogArgs,
    /// More arguments for `cargo build`, as in `-- --features extra`.
    #[arg(last = true)]
    cargo_args: Vec<String>,
}

pub(super) fn run(args: Args) -> ExitCode {
    let estate = Estate::take();
    let program = Program::remember();
    args.log.install();
    let mut cargo_args = args.cargo_args;
    if args.release {
        cargo_args.push("--release".to_owned());
    }
    let project = match Project::find(&args.dir, args.package.as_deref(), cargo_args) {
        Ok(project) => project,
        Err(error) => {
            print_error(&error, error.remedy());
            return ExitCode::CannotStart;
        }
    };
    serve::go_on(&program, estate, |estate| {
        let options = args.options.clone();
        serve::with_runtime(dev(&project, options, estate, &program))?
    })
}

async fn dev(
    project: &Project,
    options: serve::Options,
    estate: Estate,
    program: &Program,
) -> Result<Ended, ExitCode> {
    let (changes_in, mut changes) = mpsc::unbounded_channel();
    let files = Watcher::new(changes_in).map_err(|error| {
        print_error(&error, error.remedy());
        ExitCode::CannotStart
    })?;
    let mut watched = Watched {
        files,
        sources: BTreeSet::new(),
    };
    let (artifact, stale) = tokio::select! {
        built = first_build(project, &mut watched, &mut changes) => built?,
        _ = tokio::signal::ctrl_c() => return Ok(Ended::For(ExitCode::Ok)),
    };
    let defaults = AppOptions {
        // Who develops wants to see what fails.
        guard: Duration::ZERO,
        ..AppOptions::default()
    };
    let source = Source::given(artifact.clone(), None);
    let recipe = serve::Recipe::new(options, vec![source], defaults);
    let config = recipe.read().map_err(|wrong| {
        print_error(&wrong.reason, &wrong.remedy);
        ExitCode::CannotStart
    })?;
    serve::tell_configured(&config);
    let (up, is_up) = oneshot::channel();
    let rebuild = async {
        // Before it serves, a build would only change the file under the first load.
        let _ = is_up.await;
        rebuild_for_ever(project, &artifact, &mut watched, &mut changes, stale).await
    };
    let first = async |_| {
        let _ = up.send(());
        Ok(())
    };
    tokio::select! {
        // A plugin that is refused is mended and saved again: nothing is called off here.
        ended = serve::serve(config, recipe, estate, program, first) => ended,
        code = rebuild => Err(code),
    }
}

/// The sources that are watched.
struct Watched {
    files: Watcher,
    sources: BTreeSet<PathBuf>,
}

impl Watched {
    /// Watches these from now on.
    fn watch(&mut self, sources: BTreeSet<PathBuf>) {
        let paths = sources
            .iter()
            .filter_map(|path| ArtifactPath::new(path).ok());
        if let Err(error) = self.files.watch_files(paths) {
            tracing::warn!(
                reason = %error,
                remedy = error.remedy(),
                "some sources are not watched: a change in them is not seen",
            );
        }
        self.sources = sources;
    }

    /// Watches these after a build. Returns one that was not watched before, and has changed since the
    /// build began, unless it is in the folder where that puts what it makes.
    fn watch_built(
        &mut self,
        sources: BTreeSet<PathBuf>,
        began: SystemTime,
        made: Option<&Path>,
    ) -> Option<PathBuf> {
        let before = std::mem::take(&mut self.sources);
        self.watch(sources);
        let is_made = |path: &Path| made.is_some_and(|dir| path.starts_with(dir));
        let mut new = self.sources.difference(&before);
        new.find(|path| !is_made(path) && is_later(path, began))
            .cloned()
    }
}

/// Whether a file was changed after that time; or just before: its time is the system's last tick.
fn is_later(path: &Path, time: SystemTime) -> bool {
    const TICK: Duration = Duration::from_millis(10);
    let changed = path.metadata().and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed + TICK >= time)
}

fn tell_changed(path: &Path) {
    let path = path.display();
    tracing::info!(event = "source-changed", path = %path, "changed: {path}");
}

/// Builds until it works once. Returns the artifact, and what has changed that is not in it.
async fn first_build(
    project: &Project,
    watched: &mut Watched,
    changes: &mut mpsc::UnboundedReceiver<WatchEvent>,
) -> Result<(PathBuf, Option<PathBuf>), ExitCode> {
    watched.watch(sources::of(project, None));
    loop {
        let (built, began) = build(project, changes).await?;
        let artifact = match built {
            Built::Artifact(artifact) => Some(artifact),
            Built::Failed => None,
        };
        let sources = sources::of(project, artifact.as_deref());
        let made = artifact.as_deref().and_then(Path::parent);
        let stale = watched.watch_built(sources, began, made);
        if let Some(artifact) = artifact {
            return Ok((artifact, stale));
        }
        tracing::error!(
            event = "build-failed",
            "the build failed; nothing is served yet, waiting for a change",
        );
        wait(stale, changes).await;
    }
}

async fn rebuild_for_ever(
    project: &Project,
    artifact: &Path,
    watched: &mut Watched,
    changes: &mut mpsc::UnboundedReceiver<WatchEvent>,
    mut stale: Option<PathBuf>,
) -> ExitCode {
    loop {
        wait(stale, changes).await;
        let (built, began) = match build(project, changes).await {
            Ok(built) => built,
            Err(code) => return code,
        };
        if matches!(built, Built::Failed) {
            tracing::error!(
                event = "build-failed",
                "the build failed; the last good version keeps serving",
            );
        }
        // Also those that a build knows that has failed: one of them is to be mended.
        let sources = sources::of(project, Some(artifact));
        stale = watched.watch_built(sources, began, artifact.parent());
    }
}

/// Waits for a change, unless something is known to have changed already.
async fn wait(stale: Option<PathBuf>, changes: &mut mpsc::UnboundedReceiver<WatchEvent>) {
    match stale {
        Some(path) => tell_changed(&path),
        None => changed(changes).await,
    }
}

/// Waits for a change of the sources.
async fn changed(changes: &mut mpsc::UnboundedReceiver<WatchEvent>) {
    let Some(WatchEvent::Changed(path) | WatchEvent::Removed(path)) = changes.recv().await else {
        // The watch is gone only with the program.
        return std::future::pending().await;
    };
    while changes.try_recv().is_ok() {}
    tell_changed(path.as_path());
}

/// Builds; a change meanwhile ends the build and begins another. Returns when it began, too.
async fn build(
    project: &Project,
    changes: &mut mpsc::UnboundedReceiver<WatchEvent>,
) -> Result<(Built, SystemTime), ExitCode> {
    loop {
        let mut build = Build::start(project).map_err(|error| {
            print_error(&error, error.remedy());
            ExitCode::CannotStart
        })?;
        tokio::select! {
            built = build.finish() => {
                let built = built.map_err(|error| {
                    print_error(&error, error.remedy());
                    ExitCode::CannotStart
                })?;
                return Ok((built, build.began));
            }
            () = changed(changes) => build.cancel().await,
        }
    }
}
