//! Measures Replug: `cargo run --release -p replug-bench -- [throughput|reload|slow-setup|allocator|groups]`.
//!
//! Numbers of one run are comparable with each other and with nothing else: what is compared is
//! measured alternately, on the same machine, within seconds.

mod allocator;
mod compare;
mod groups;
mod load;
mod peers;
mod reload;
mod slow_setup;
mod throughput;

use std::{num::NonZeroUsize, thread};

use clap::{Parser, ValueEnum};
use replug_bench::servers::Programs;

/// Measures Replug against the same app without it.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; everything if nothing is said.
    what: Option<What>,
    /// Rounds of each throughput measurement.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections that load a server.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// HTTP threads of each server; by default half of the cores, the load has the others.
    #[arg(long)]
    threads: Option<usize>,
    /// Reloads to measure.
    #[arg(long, default_value_t = 100)]
    reloads: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Requests per second, beside axum's own server.
    Throughput,
    /// From a new file to its first answer, beside copying and opening that file.
    Reload,
    /// The slowest answer while a new version takes 3 s to set itself up, beside the slowest before.
    SlowSetup,
    /// What a plugin's allocation costs, beside the C library's.
    Allocator,
    /// Process groups: requests per second beside axum and nginx, deploys beside mod_wsgi, and clocks.
    Groups,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    if cfg!(debug_assertions) {
        println!("warning: built without optimization; use cargo run --release\n");
    }
    let programs = Programs::build();
    let wanted = |what| args.what.is_none_or(|only| only == what);
    if wanted(What::Throughput) {
        throughput::run(&args, &programs).await;
    }
    if wanted(What::Reload) {
        reload::run(&args, &programs).await;
    }
    if wanted(What::SlowSetup) {
        slow_setup::run(&args, &programs).await;
    }
    if wanted(What::Allocator) {
        allocator::run(&programs).await;
    }
    if wanted(What::Groups) {
        groups::run(&args, &programs).await;
    }
}

/// The processors that there are.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The value that so many hundredths of the sorted values do not exceed.
fn percentile(values: &[f64], hundredths: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * hundredths)
        .div_ceil(100)
        .clamp(1, sorted.len())
        - 1]
}
