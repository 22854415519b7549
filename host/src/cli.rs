//! The command line.

use clap::{Parser, Subcommand};

mod apply;
mod apps;
mod client;
mod dev;
mod history;
mod inspect;
mod output;
mod registry;
mod serve;
mod status;
mod validate;
mod whole;
mod worker;

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
    Reload(apps::Reload),
    /// Let an artifact that served before serve again: the one before, or that of a digest.
    Rollback(apps::WithDigest),
    /// Let an artifact serve, whatever becomes of the file, until it is unpinned.
    Pin(apps::WithDigest),
    /// Let the changes of an app's file say again what serves, those of the meantime, too.
    Unpin(apps::Unpin),
    /// Have a host go on in a fresh process image, with its listeners and its process id.
    Restart(whole::Args),
    /// Have a running host take a changed configuration: all of it, or nothing.
    Apply(apply::Args),
    /// Have a host drain and end.
    Stop(whole::Args),
    /// Say what apps have registered.
    Registry(registry::Args),
    /// Say what was loaded for an app, with what outcome, and what of it is kept.
    History(history::Args),
    /// Check the configuration and every artifact that it names, without running any of them.
    Validate(validate::Args),
    /// Say which version this is, if it understands what a host of that form leaves to it: how a
    /// host asks the program that is to take its place.
    #[command(hide = true)]
    Inherits {
        /// The form.
        form: u32,
    },
    /// Be a process of a group: how a host starts its workers.
    #[command(hide = true)]
    Worker(worker::Args),
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
        Command::Reload(args) => apps::reload(args),
        Command::Rollback(args) => apps::rollback(args),
        Command::Pin(args) => apps::pin(args),
        Command::Unpin(args) => apps::unpin(args),
        Command::Restart(args) => whole::restart(args),
        Command::Apply(args) => apply::run(args),
        Command::Stop(args) => whole::stop(args),
        Command::Registry(args) => registry::run(args),
        Command::History(args) => history::run(args),
        Command::Validate(args) => validate::run(args),
        Command::Inherits { form: serve::FORM } => {
            output::print(concat!("replug ", env!("CARGO_PKG_VERSION"), "\n"));
            ExitCode::Ok
        }
        Command::Inherits { form } => {
            let error = format!("what is left in the form {form} is not understood");
            output::print_error(&error, "stop the host, and start this program in its place");
            ExitCode::CannotStart
        }
        Command::Worker(args) => worker::run(args),
        Command::Inspect(args) => inspect::run(&args),
    }
}
