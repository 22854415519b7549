//! `replug dev`: build, serve, and on every save rebuild and reload.
//!
//! The loop only runs cargo. That the artifact is new is seen by the same watcher that serves
//! deploys, so that what works here works there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
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
    let artifact = tokio::select! {
        artifact = first_build(project, &files, &mut changes) => artifact?,
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
        rebuild_for_ever(project, &artifact, &files, &mut changes).await
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

/// Watches these sources from now on.
fn watch(files: &Watcher, sources: &BTreeSet<PathBuf>) {
    let paths = sources
        .iter()
        .filter_map(|path| ArtifactPath::new(path).ok());
    if let Err(error) = files.watch_files(paths) {
        tracing::warn!(
            reason = %error,
            remedy = error.remedy(),
            "some sources are not watched: a change in them is not seen",
        );
    }
}

/// Builds until it works once.
async fn first_build(
    project: &Project,
    files: &Watcher,
    changes: &mut mpsc::UnboundedReceiver<WatchEvent>,
) -> Result<PathBuf, ExitCode> {
    loop {
        watch(files, &sources::of(project, None));
        match build(project, changes).await? {
            Built::Artifact(artifact) => {
                watch(files, &sources::of(project, Some(&artifact)));
                return Ok(artifact);
            }
            Built::Failed => tracing::error!(
                event = "build-failed",
                "the build failed; nothing is served yet, waiting for a change",
            ),
        }
        changed(changes).await;
    }
}

async fn rebuild_for_ever(
    project: &Project,
    artifact: &Path,
    files: &Watcher,
    changes: &mut mpsc::UnboundedReceiver<WatchEvent>,
) -> ExitCode {
    loop {
        changed(changes).await;
        match build(project, changes).await {
            Ok(Built::Artifact(_)) => watch(files, &sources::of(project, Some(artifact))),
            Ok(Built::Failed) => tracing::error!(
                event = "build-failed",
                "the build failed; the last good version keeps serving",
            ),
            Err(code) => return code,
        }
    }
}

/// Waits for a change of the sources.
async fn changed(changes: &mut mpsc::UnboundedReceiver<WatchEvent>) {
    let Some(WatchEvent::Changed(path) | WatchEvent::Removed(path)) = changes.recv().await else {
        // The watch is gone only with the program.
        return std::future::pending().await;
    };
    while changes.try_recv().is_ok() {}
    tracing::info!(event = "source-changed", path = %path, "changed: {path}");
}

/// Builds; a change meanwhile ends the build and begins another.
async fn build(
    project: &Project,
    changes: &mut mpsc::UnboundedReceiver<WatchEvent>,
) -> Result<Built, ExitCode> {
    loop {
        let mut build = Build::start(project).map_err(|error| {
            print_error(&error, error.remedy());
            ExitCode::CannotStart
        })?;
        tokio::select! {
            built = build.finish() => {
                return built.map_err(|error| {
                    print_error(&error, error.remedy());
                    ExitCode::CannotStart
                });
            }
            () = changed(changes) => build.cancel().await,
        }
    }
}
