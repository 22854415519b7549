//! Reloads a plugin under load for as long as one likes, and says what that did to the host:
//! `cargo run --release -p replug-bench --bin soak -- --help`.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use replug_bench::soak::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match options.plan() {
        Ok(plan) => soak::command(&options, &plan).await,
        Err(reason) => Options::command()
            .error(ErrorKind::ValueValidation, reason)
            .exit(),
    }
}
