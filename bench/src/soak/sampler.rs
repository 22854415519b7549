//! Looks at the host's process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use replug_tests::{Host, host::Site};
use serde_json::Value;

/// How often to look whether the process is at rest: a thread that is about to end does so within
/// a few looks, and if the process never rests, that shows in the sample.
const LOOKS: usize = 2000;

/// The host after so many reloads.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Reloads under load so far.
    pub reloads: u64,
    /// The generation that serves.
    pub generation: u64,
    /// Since the first sample.
    pub time: Duration,
    /// Good answers so far.
    pub answers: u64,
    /// Good answers a second of load since the sample before.
    pub per_second: f64,
    /// Resident memory, in bytes.
    pub memory: u64,
    /// Lines of its `maps`.
    pub mappings: u64,
    /// Those that are code of plugins.
    pub code: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// pthread keys of plugins, as the host says.
    pub keys: u64,
}

/// Takes samples.
#[derive(Debug)]
pub(super) struct Sampler {
    pid: u32,
    staging: PathBuf,
    replug: PathBuf,
    control: PathBuf,
    began: Instant,
    /// When the load went on, and after how many answers.
    resumed: (Instant, u64),
    /// Good answers when it paused, and how many a second there had been since.
    load: (u64, f64),
}

impl Sampler {
    /// Of a host of that program at that site.
    pub(super) fn new(host: &Host, replug: &Path, site: &Site) -> Self {
        let now = Instant::now();
        Self {
            pid: host.pid(),
            staging: site.path().join("staging"),
            replug: replug.to_owned(),
            control: site.control(),
            began: now,
            resumed: (now, 0),
            load: (0, 0.0),
        }
    }

    /// The load pauses after so many good answers.
    pub(super) fn pause(&mut self, answers: u64) {
        let (since, before) = self.resumed;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let count = (answers - before) as f64;
        self.load = (answers, count / since.elapsed().as_secs_f64());
    }

    /// It goes on.
    pub(super) fn resume(&mut self) {
        self.resumed = (Instant::now(), self.load.0);
    }

    /// The process as it is now. `None`: it is gone, or does not answer.
    pub(super) async fn look(&self, reloads: u64, generation: u64) -> Option<Sample> {
        for _ in 0..LOOKS {
            if self.is_at_rest()? {
                break;
            }
            tokio::task::yield_now().await;
        }
        let folder = self.proc();
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let number = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        let maps = fs::read_to_string(folder.join("maps")).ok()?;
        let staging = self.staging.to_string_lossy();
        let code = maps
            .lines()
            .filter(|line| line.contains(" r-xp ") && line.contains(&*staging));
        let (answers, per_second) = self.load;
        Some(Sample {
            reloads,
            generation,
            time: self.began.elapsed(),
            answers,
            per_second,
            memory: number("VmRSS:")? << 10,
            mappings: maps.lines().count() as u64,
            code: code.count() as u64,
            threads: number("Threads:")?,
            descriptors: fs::read_dir(folder.join("fd")).ok()?.count() as u64,
            keys: self.keys()?,
        })
    }

    /// Whether all of its threads sleep.
    fn is_at_rest(&self) -> Option<bool> {
        let threads = fs::read_dir(self.proc().join("task")).ok()?;
        Some(threads.flatten().all(|thread| {
            // The state stands after the name, which is in parentheses and may have some itself.
            let stat = fs::read_to_string(thread.path().join("stat"));
            stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|s| s.starts_with(" S")))
        }))
    }

    fn keys(&self) -> Option<u64> {
        let output = Command::new(&self.replug)
            .args(["status", "--json", "--control"])
            .arg(&self.control)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        status["process"]["keys"].as_u64()
    }

    fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.pid))
    }
}
