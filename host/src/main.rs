//! The `replug` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    replug::cli::run().into()
}
