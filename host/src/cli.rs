//! The command line.

use clap::{Parser, Subcommand};

mod client;
mod dev;
mod inspect;
mod output;
mod reload;
mod serve;
mod status;

use crate::exit_code::ExitCode;

/// Hosts HTTP applications built as Rust dynamic libraries, and reloads them while they serve.
#[derive(Debug, Parser)]
#[command(name = "replug", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve plugins, and reload each when its file changes.
    Serve(serve::Args),
    /// Build the plugin in a directory, serve it, and rebuild and reload it on save.
    Dev(dev::Args),
    /// Say what a running host serves, and how that does.
    Status(status::Args),
    /// Reload an app of a running host, though its file be the same.
    Reload(reload::Args),
    /// Say what a file is, and whether it would be taken, without running any of its code.
    Inspect(inspect::Args),
}

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" too, of code 0; a closed pipe is nobody's business.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Ok
            };
        }
    };
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Dev(args) => dev::run(args),
        Command::Status(args) => status::run(args),
        Command::Reload(args) => reload::run(args),
        Command::Inspect(args) => inspect::run(&args),
    }
}
