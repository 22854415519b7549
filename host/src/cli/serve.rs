//! `replug serve`

use std::sync::Arc;

use tokio::runtime::Builder;

mod applying;
mod asides;
mod estate;
mod options;
mod own_sockets;
mod program;
mod recipe;
mod running;
mod signals;
mod start;
mod wanted;
mod wishes;

pub(super) use estate::{Estate, FORM};
pub(super) use options::{Options, parse_source};
pub(super) use program::Program;
pub(super) use recipe::Recipe;
pub(super) use start::Ended;

use super::output::{LogArgs, print_error};
use crate::{
    config::{AppOptions, Config, Source},
    exit_code::ExitCode,
    reload::FirstRound,
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Libraries, or directories of them, each with a mount if it is not to be the default: one
    /// library alone is mounted at `/`, others at `/NAME`. The configuration file may name more.
    #[arg(value_name = "PATH[=MOUNT]", value_parser = parse_source)]
    sources: Vec<Source>,
    #[command(flatten)]
    pub(super) options: Options,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

pub(super) fn run(args: Args) -> ExitCode {
    let estate = Estate::take();
    let program = Program::remember();
    args.log.install();
    let recipe = Recipe::new(args.options, args.sources, AppOptions::default());
    let config = match recipe.read() {
        Ok(config) => config,
        Err(wrong) => {
            print_error(&wrong.reason, &wrong.remedy);
            return ExitCode::CannotStart;
        }
    };
    tell_configured(&config);
    if config.sources.is_empty() {
        print_error(&NOTHING, NOTHING_REMEDY);
        return if config.file.is_some() {
            ExitCode::CannotStart
        } else {
            ExitCode::Usage
        };
    }
    let (config, recipe) = (Arc::new(config), Arc::new(recipe));
    go_on(&program, estate, |estate| {
        // What served before the restart is mended while the host is there.
        let may_be_called_off = !estate.is_of_another();
        let first = async |first: FirstRound| {
            if may_be_called_off && first.serving == 0 && first.refused > 0 {
                Err(ExitCode::Refused)
            } else {
                Ok(())
            }
        };
        with_runtime(start::start(&config, &recipe, estate, &program, first))?
    })
}

/// Runs hosts, each with what the one before left, until one is the last: in fresh images of the
/// process, or in this one where there can be none.
pub(super) fn go_on(
    program: &Program,
    mut estate: Estate,
    mut host: impl FnMut(Estate) -> Result<Ended, ExitCode>,
) -> ExitCode {
    loop {
        estate = match host(estate) {
            Ok(Ended::For(code)) | Err(code) => return code,
            Ok(Ended::Before(estate)) => estate,
        };
        if estate.failed.is_none() {
            let error = program.execute(&estate);
            estate.failed = Some(format!("cannot execute the program: {error}"));
        }
        let reason = estate.failed.as_deref().unwrap_or_default();
        tracing::error!(
            event = "cannot-restart",
            reason,
            remedy = "see to it that the program can be executed",
            "there is no new image of the process; going on in this one",
        );
    }
}

/// There are no sources.
pub(super) const NOTHING: &str = "there is nothing to serve";
pub(super) const NOTHING_REMEDY: &str =
    "name a library or a directory of them, or write a replug.toml (docs/configuration.md)";

/// Says which file is used.
pub(super) fn tell_configured(config: &Config) {
    if let Some(path) = &config.file {
        let path = path.display();
        tracing::info!(event = "configured", path = %path, "configured by {path}");
    }
}

/// Runs a command on the control thread's runtime.
pub(super) fn with_runtime<T>(work: impl Future<Output = T>) -> Result<T, ExitCode> {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => Ok(runtime.block_on(work)),
        Err(error) => {
            print_error(
                &format!("cannot start: {error}"),
                "raise the limit of open files (ulimit -n)",
            );
            Err(ExitCode::CannotStart)
        }
    }
}

/// Serves until it is told to end, or to go on elsewhere. `first` is told how the first round of
/// loading went, before anything is accepted, and may call it off.
pub(super) async fn serve(
    config: Config,
    recipe: Recipe,
    estate: Estate,
    program: &Program,
    first: impl AsyncFnOnce(FirstRound) -> Result<(), ExitCode>,
) -> Result<Ended, ExitCode> {
    start::start(&Arc::new(config), &Arc::new(recipe), estate, program, first).await
}
