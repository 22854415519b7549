//! `replug serve`

use std::sync::Arc;

use tokio::runtime::Builder;

mod options;
mod restart;
mod signals;
mod start;
mod wanted;

pub(super) use options::{Options, parse_source};
pub(super) use restart::Program;

use super::output::{LogArgs, print_error};
use crate::{
    config::{AppOptions, Config, ConfigFile, Source},
    exit_code::ExitCode,
    reload::FirstRound,
};
use restart::Estate;
use start::Ended;

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
    args.log.install();
    let program = Program::remember();
    let estate = args.options.inheritance.clone().take();
    let file = match args.options.file.read() {
        Ok(file) => file,
        Err(error) => {
            print_error(&error, error.remedy());
            return ExitCode::CannotStart;
        }
    };
    let configured = file.is_some();
    if let Some(file) = &file {
        tell_configured(file);
    }
    let given = args.options.into_overrides(args.sources);
    let config = Config::resolve(given, file, AppOptions::default());
    if config.sources.is_empty() {
        print_error(&NOTHING, NOTHING_REMEDY);
        return if configured {
            ExitCode::CannotStart
        } else {
            ExitCode::Usage
        };
    }
    with_runtime(serve(config, estate, program, async |first: FirstRound| {
        if first.serving == 0 && first.refused > 0 {
            Err(ExitCode::Refused)
        } else {
            Ok(())
        }
    }))
}

/// There are no sources.
pub(super) const NOTHING: &str = "there is nothing to serve";
pub(super) const NOTHING_REMEDY: &str =
    "name a library or a directory of them, or write a replug.toml (docs/configuration.md)";

/// Says which file is used.
pub(super) fn tell_configured(file: &ConfigFile) {
    let path = file.path.display();
    tracing::info!(event = "configured", path = %path, "configured by {path}");
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
    mut estate: Estate,
    program: Program,
    mut first: impl AsyncFnMut(FirstRound) -> Result<(), ExitCode>,
) -> ExitCode {
    let config = Arc::new(config);
    loop {
        estate = match start::start(&config, estate, &program, &mut first).await {
            Ok(Ended::For(code)) | Err(code) => return code,
            Ok(Ended::Before(estate)) => estate,
        };
        let error = program.execute(&estate);
        tracing::error!(
            event = "cannot-restart",
            reason = %error,
            remedy = "see to it that the program can be executed",
            "cannot execute the program; going on in this process",
        );
    }
}
