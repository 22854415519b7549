//! What commands print besides the log.

use std::{
    fmt::Display,
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::fd::OwnedFd,
};

use clap::Args;

use crate::telemetry::{self, Format, Level, Options};

/// How to log.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct LogArgs {
    /// The log's format, on standard error.
    #[arg(long, value_enum, default_value_t, env = "REPLUG_LOG_FORMAT")]
    log_format: Format,
    /// The most detailed level to log, of the host and the plugins.
    #[arg(long, value_enum, default_value = "info", env = "REPLUG_LOG_LEVEL")]
    log_level: Level,
}

impl LogArgs {
    /// The same for a worker, whose log goes to that descriptor.
    pub(super) fn install_in_worker(self, log: OwnedFd) {
        let log = File::from(log);
        let colour = log.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let options = Options {
            format: self.log_format,
            level: self.log_level,
            colour,
        };
        telemetry::install_in_worker(options, log);
    }

    pub(super) fn install(self) {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        telemetry::install(Options {
            format: self.log_format,
            level: self.log_level,
            colour,
        });
    }
}

/// Prints to standard output. A reader that has gone away (`| head`) is no error.
pub(super) fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Prints an error and what to do about it.
pub(super) fn print_error(error: &dyn Display, remedy: &str) {
    let _ = writeln!(io::stderr(), "error: {error}\n  remedy: {remedy}");
}
