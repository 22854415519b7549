//! What there is and how it does, for people and programs that ask.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

mod worker;

pub use worker::WorkerStatus;

use super::{
    Reloader,
    history::{Attempted, Outcome},
    retiring::Phase,
    slot::{Slot, Work},
    timetable::ScheduleStatus,
};
use crate::{
    config::{AppOptions, Policy},
    loader::Footprint,
    process,
};

/// All of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Status {
    /// The process as a whole.
    pub process: Process,
    /// What it serves by.
    pub configuration: ConfigurationStatus,
    /// The apps, by name.
    pub apps: Vec<AppStatus>,
    /// Old generations that are still there, the oldest first.
    pub retiring: Vec<RetiringStatus>,
}

/// What a host serves by.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ConfigurationStatus {
    /// The file; `null`: the command line alone.
    pub path: Option<String>,
    /// When it came into force: at the host's start, or when it was last applied. Seconds since
    /// 1970.
    pub since: f64,
}

/// The process as a whole.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Tells this process image from others, before and after a restart.
    pub instance: String,
    /// The program's version.
    pub version: String,
    /// pthread keys that plugins have; there are 1,024 in a process.
    pub keys: usize,
    /// Why old generations cannot be unloaded here; `null`: they can.
    pub unloading_off: Option<String>,
}

/// An app.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AppStatus {
    /// Its name; empty, if its artifact was never looked at with success.
    pub name: String,
    /// Its artifact's path.
    pub path: String,
    /// Where it is mounted; empty, if it is not.
    pub mount: String,
    /// When it is reloaded: `eager`, `on-request` or `manual`.
    pub reload: String,
    /// Whether a new generation is being loaded.
    pub loading: bool,
    /// Whether there is a change that is not loaded yet, or not to be loaded.
    pub changed: bool,
    /// The artifact that is to stay.
    pub pinned: Option<String>,
    /// Requests that wait for a generation.
    pub waiting: usize,
    /// The generation that serves.
    pub serving: Option<ServingStatus>,
    /// Why the newest file does not serve.
    pub refused: Option<RefusalStatus>,
    /// How many old generations of it stay loaded because something of theirs is in use.
    pub quarantined: usize,
    /// What it wants called from time to time.
    pub schedules: Vec<ScheduleStatus>,
    /// The process group whose workers serve it; `null`: the host itself does.
    pub group: Option<String>,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
}

/// A generation that serves.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ServingStatus {
    /// Its number.
    pub generation: u64,
    /// The digest of its artifact.
    pub digest: String,
    /// For how long it has served, in seconds.
    pub seconds: u64,
    /// Calls, bodies, large pieces of their data, and tunnels under way.
    pub in_flight: usize,
    /// Requests that it was handed.
    pub requests: u64,
    /// Those that were answered with 500 or above.
    pub failures: u64,
    /// Panics in handlers and bodies.
    pub panics: u64,
    /// For how many seconds more it is watched, and rolled back if it does worse than the one
    /// before; `null`: it is not.
    pub guarded: Option<f64>,
    /// What it has in the process; not there, if it is in workers: those have it together with all
    /// apps of their group.
    #[serde(flatten)]
    pub footprint: Option<FootprintStatus>,
    /// Bytes of memory that it may have in use.
    pub memory_limit: Option<u64>,
}

/// What a generation has in the process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FootprintStatus {
    /// Bytes in use on its heap; 0, if its allocator is not Replug's.
    pub memory: u64,
    /// Threads that its code started, and that are running.
    pub threads: Vec<ThreadStatus>,
}

/// A thread.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ThreadStatus {
    /// Its name.
    pub name: String,
    /// Its id, as `top -H` shows it.
    pub id: i32,
}

/// Why an artifact was refused.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RefusalStatus {
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

/// An old generation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RetiringStatus {
    /// Its app.
    pub app: String,
    /// Its number.
    pub generation: u64,
    /// `draining`, `stopping`, `unloading` or `quarantined`.
    pub state: String,
    /// Why it is quarantined.
    pub reason: Option<String>,
    /// Calls, bodies and tunnels under way.
    pub in_flight: usize,
    /// What it still has in the process; not there, if it is in workers.
    #[serde(flatten)]
    pub footprint: Option<FootprintStatus>,
}

/// What was loaded for an app.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HistoryStatus {
    /// Its name.
    pub app: String,
    /// The digest of what serves.
    pub serving: Option<String>,
    /// The digests of the artifacts that are kept, the one that served last first.
    pub kept: Vec<String>,
    /// Attempts to load something, the newest first.
    pub attempts: Vec<AttemptStatus>,
}

/// An attempt to load something.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AttemptStatus {
    /// The generation that it made, or would have made.
    pub generation: u64,
    /// Its artifact's digest; `null`: that could not be read.
    pub digest: Option<String>,
    /// When, in seconds since 1970.
    pub at: f64,
    /// What was the reason: `change`, `tracked`, `command`, `rollback` …
    pub cause: String,
    /// What it came to.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took to copy and inspect it, in milliseconds.
    pub staged_ms: f64,
    /// To open it.
    pub loaded_ms: f64,
    /// To run its setup.
    pub setup_ms: f64,
    /// To probe it.
    pub probed_ms: f64,
}

impl From<&Footprint> for FootprintStatus {
    fn from(footprint: &Footprint) -> Self {
        let threads = footprint.threads().into_iter();
        Self {
            memory: footprint.memory(),
            threads: threads
                .map(|thread| ThreadStatus {
                    name: thread.name,
                    id: thread.id,
                })
                .collect(),
        }
    }
}

impl From<&Attempted> for AttemptStatus {
    fn from(attempted: &Attempted) -> Self {
        Self {
            generation: attempted.generation.get(),
            digest: attempted.digest.map(|digest| digest.to_string()),
            at: seconds(attempted.at),
            cause: attempted.cause.to_owned(),
            outcome: attempted.outcome.clone(),
            staged_ms: attempted.times.staged_ms,
            loaded_ms: attempted.times.loaded_ms,
            setup_ms: attempted.times.setup_ms,
            probed_ms: attempted.times.probed_ms,
        }
    }
}

/// Since 1970.
fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

impl HistoryStatus {
    pub(super) fn of(slot: &Slot) -> Self {
        Self {
            app: slot.name().map(ToString::to_string).unwrap_or_default(),
            serving: slot.serving().map(|digest| digest.to_string()),
            kept: slot.history.kept().map(|kept| kept.to_string()).collect(),
            attempts: slot.history.attempts().map(Into::into).collect(),
        }
    }
}

impl ServingStatus {
    fn of(slot: &Slot, options: &AppOptions) -> Option<Self> {
        let lease = &slot.live.as_ref()?.lease;
        let counts = lease.tally.counts();
        Some(Self {
            generation: lease.id.get(),
            digest: lease.digest.to_string(),
            seconds: lease.since.elapsed().as_secs(),
            // Two are the owner's: its lease, and the app's.
            in_flight: lease.holders().saturating_sub(2) + lease.tally.elsewhere(),
            requests: counts.requests,
            failures: counts.failures,
            panics: counts.panics,
            guarded: slot
                .guarded
                .as_ref()
                .map(|guarded| guarded.left())
                .map(|left: Duration| left.as_secs_f64()),
            footprint: lease.footprint.as_ref().map(Into::into),
            memory_limit: options.most_memory(),
        })
    }
}

/// When this image was first asked, which no other was.
fn instance() -> &'static str {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        format!("{:x}", now.unwrap_or_default().as_nanos())
    })
}

impl Reloader {
    pub(super) fn status(&self) -> Status {
        let mut apps: Vec<AppStatus> = self
            .slots
            .iter()
            .filter(|(_, slot)| !slot.is_to_come())
            .map(|(path, slot)| {
                let options = slot.options(&self.config);
                AppStatus {
                    name: slot.name().map(ToString::to_string).unwrap_or_default(),
                    path: path.to_string(),
                    mount: slot
                        .app
                        .as_ref()
                        .map(|app| app.mount.to_string())
                        .unwrap_or_default(),
                    reload: match options.reload {
                        Policy::Eager => "eager",
                        Policy::OnRequest => "on-request",
                        Policy::Manual => "manual",
                    }
                    .to_owned(),
                    loading: matches!(slot.work, Work::Loading { .. }),
                    changed: slot.pending.is_some(),
                    pinned: slot.pin.map(|pin| pin.to_string()),
                    waiting: slot.app.as_ref().map_or(0, |app| app.waiting()),
                    serving: ServingStatus::of(slot, options),
                    refused: slot.refusal.as_ref().map(|refusal| RefusalStatus {
                        reason: refusal.reason.clone(),
                        remedy: refusal.remedy.clone(),
                    }),
                    quarantined: self.quarantined(path).count(),
                    schedules: self.schedules_of(path),
                    group: slot.elsewhere.as_ref().map(|(group, _)| group.to_string()),
                    workers: WorkerStatus::of(slot),
                }
            })
            .collect();
        apps.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
        let retiring = self.retiring.iter().map(|retiring| {
            let (state, reason) = match retiring.phase() {
                Phase::Draining => ("draining", None),
                Phase::Stopping => ("stopping", None),
                Phase::Unloading => ("unloading", None),
                Phase::Quarantined { reason } => ("quarantined", Some(reason)),
            };
            RetiringStatus {
                app: retiring.app.to_string(),
                generation: retiring.generation.get(),
                state: state.to_owned(),
                reason,
                in_flight: retiring.in_flight(),
                footprint: retiring.footprint.as_ref().map(Into::into),
            }
        });
        Status {
            process: Process {
                pid: std::process::id(),
                instance: instance().to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                keys: process::plugin_keys(),
                unloading_off: process::unloading_is_off().map(str::to_owned),
            },
            configuration: ConfigurationStatus {
                path: self
                    .config
                    .file
                    .as_ref()
                    .map(|path| path.display().to_string()),
                since: seconds(self.applied),
            },
            apps,
            retiring: retiring.collect(),
        }
    }
}
