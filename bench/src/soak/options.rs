//! The command line.

use std::{fs, num::NonZeroUsize, path::PathBuf, process::ExitCode, thread};

use clap::Parser;
use replug_tests::deploy::Artifact;

use super::{App, Verdict, measure::MIB, plot, report, run};
use crate::servers;

/// 0.4 KiB a reload, for 10,000.
const MEMORY_SLACK: u64 = 4 * MIB;
/// Where memory is taken to have settled, if there are reloads enough after it.
const SETTLE_AFTER: u64 = 500;
/// So many points are a fine curve.
const SAMPLES: u64 = 200;
/// Most reloads are under load: each sample has one that is not.
const CLOSEST: u64 = 10;

/// Reloads an app under load, and judges what that did to the host.
///
/// Builds the host and the plugin, serves it, and puts a new version in place as soon as the one
/// before serves and at most four old ones are still to go. Meanwhile each connection asks all the
/// time, and each answer must be whole and right. Now and then the load pauses, one more reload
/// brings a generation that nobody has asked yet, all before it go, and a sample of the host's
/// process is taken.
///
/// Passed (exit code 0) is what has no failed request, no answer of two versions or of an old one,
/// each generation verified to be unmapped, no warning in the host's log, and at the end no more
/// threads, descriptors, mappings, keys and memory than after --settle-after. Compared are the
/// medians of the first and the last fifth of the samples after it; 4 MiB, 8 mappings, 1 thread and
/// 1 descriptor more are allowed. Else the exit code is 1.
///
/// Whether an answer is of two versions only the probe can tell: its head and each of its lines say
/// the version. The versions of the other apps differ in the file alone: judge mixtures with
/// --app probe or --app asking.
#[derive(Clone, Debug, Parser)]
#[command(name = "soak", version)]
pub struct Options {
    /// The app, and with it what is asked
    #[arg(long, value_enum, default_value = "hello")]
    pub app: App,
    /// Reloads under load
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub reloads: u64,
    /// Connections that ask all the time
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub connections: usize,
    /// The host's HTTP threads [default: half of the cores; the load has the others]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Reloads until memory has settled: growth is judged from then on [default: 500, or a fifth of all]
    #[arg(long, value_name = "N")]
    pub settle_after: Option<u64>,
    /// Reloads between two samples [default: so many that there are 200 samples]
    #[arg(long, value_name = "N")]
    pub sample_every: Option<u64>,
    /// Draws the samples into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Writes the samples into this file
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The app.
    pub app: App,
    /// Reloads under load; each sample has one more.
    pub reloads: u64,
    /// Clients, each on a connection of its own.
    pub connections: usize,
    /// HTTP threads of the host.
    pub threads: usize,
    /// The reload from which on nothing may grow.
    pub settle_after: u64,
    /// Reloads between two samples.
    pub sample_every: u64,
    /// Bytes by which resident memory may have grown at the end.
    pub memory_slack: u64,
}

impl Options {
    /// The plan, with what was left out filled in.
    ///
    /// # Errors
    /// When nothing can be judged so, with the reason.
    pub fn plan(&self) -> Result<Plan, String> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let plan = Plan {
            app: self.app,
            reloads: self.reloads,
            connections: self.connections,
            threads: self.threads.unwrap_or((cores / 2).max(1)),
            settle_after: self
                .settle_after
                .unwrap_or(SETTLE_AFTER.min(self.reloads / 5)),
            sample_every: self
                .sample_every
                .unwrap_or((self.reloads / SAMPLES).max(CLOSEST)),
            memory_slack: MEMORY_SLACK,
        };
        if plan.connections == 0 || plan.threads == 0 || plan.sample_every == 0 {
            return Err("--connections, --threads and --sample-every are at least 1".to_owned());
        }
        if plan.settle_after >= plan.reloads {
            return Err(format!(
                "--settle-after {} leaves none of {} reloads to be judged",
                plan.settle_after, plan.reloads
            ));
        }
        Ok(plan)
    }
}

impl Plan {
    /// Whether a sample is taken after so many reloads.
    #[must_use]
    pub fn samples_after(&self, reloads: u64) -> bool {
        reloads.is_multiple_of(self.sample_every)
            || reloads == self.settle_after
            || reloads == self.reloads
    }
}

/// Builds, runs, prints and draws.
///
/// # Panics
/// When something does not compile, or a file cannot be written.
pub async fn command(options: &Options, plan: &Plan) -> ExitCode {
    if cfg!(debug_assertions) {
        println!("warning: built without optimization; use cargo run --release\n");
    }
    let package = plan.app.package();
    let built = servers::build(&["replug"], &[package]);
    let library = &built.libraries[&package.replace('-', "_")];
    let library = Artifact::new(fs::read(library).unwrap());

    let mut progress = report::Progress::begin(plan);
    let record = run(plan, &built.programs["replug"], &library, |sample| {
        progress.show(sample);
    })
    .await;
    let verdict = Verdict::of(plan, &record);
    print!("{}", report::summary(plan, &record, &verdict));
    if let Some(file) = &options.csv {
        fs::write(file, report::csv(&record.samples)).unwrap();
        println!("samples: {}", file.display());
    }
    if let Some(file) = &options.svg {
        fs::write(file, plot::svg(plan, &record, &verdict)).unwrap();
        println!("plot: {}", file.display());
    }
    if verdict.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &str) -> Result<Plan, String> {
        Options::try_parse_from(["soak"].into_iter().chain(args.split_whitespace()))
            .map_err(|error| error.to_string())?
            .plan()
    }

    #[test]
    fn what_is_left_out_fits_the_number_of_reloads() {
        let long = plan("").unwrap();
        assert_eq!((long.settle_after, long.sample_every), (500, 50));
        let short = plan("--reloads 100").unwrap();
        assert_eq!((short.settle_after, short.sample_every), (20, 10));
    }

    #[test]
    fn what_is_compared_is_always_sampled() {
        let plan = plan("--reloads 1001 --settle-after 333 --sample-every 100").unwrap();
        for reloads in [0, 100, 333, 1001] {
            assert!(plan.samples_after(reloads), "{reloads}");
        }
        assert!(!plan.samples_after(334));
    }

    #[test]
    fn a_run_that_could_not_be_judged_is_refused() {
        let refusal = plan("--reloads 500 --settle-after 500").unwrap_err();
        assert!(refusal.contains("leaves none of 500"), "{refusal}");
        assert!(plan("--connections 0").is_err());
    }
}
