//! What there is and how it does, for people and programs that ask.

use serde::{Deserialize, Serialize};

use super::{Reloader, retiring::Phase, slot::Work};
use crate::{loader::Footprint, process};

/// All of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Status {
    /// The process as a whole.
    pub process: Process,
    /// The apps, by name.
    pub apps: Vec<AppStatus>,
    /// Old generations that are still there, the oldest first.
    pub retiring: Vec<RetiringStatus>,
}

/// The process as a whole.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
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
    /// Its name; empty, if its artifact was never loaded.
    pub name: String,
    /// Its artifact's path.
    pub path: String,
    /// Where it is mounted; empty, if it does not serve.
    pub mount: String,
    /// Whether a new generation is being loaded.
    pub loading: bool,
    /// The generation that serves.
    pub serving: Option<ServingStatus>,
    /// Why the newest file does not serve.
    pub refused: Option<RefusalStatus>,
    /// How many old generations of it stay loaded because something of theirs is in use.
    pub quarantined: usize,
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
    /// What it has in the process.
    #[serde(flatten)]
    pub footprint: FootprintStatus,
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
    /// What it still has in the process.
    #[serde(flatten)]
    pub footprint: FootprintStatus,
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

impl Reloader {
    pub(super) fn status(&self) -> Status {
        let mut apps: Vec<AppStatus> = self
            .slots
            .iter()
            .map(|(path, slot)| AppStatus {
                name: slot.name().map(ToString::to_string).unwrap_or_default(),
                path: path.to_string(),
                mount: slot
                    .live
                    .as_ref()
                    .map(|(app, _)| app.mount.to_string())
                    .unwrap_or_default(),
                loading: matches!(slot.work, Work::Loading { .. }),
                serving: slot.live.as_ref().map(|(app, live)| ServingStatus {
                    generation: live.lease.id.get(),
                    digest: live.lease.digest.to_string(),
                    seconds: live.lease.since.elapsed().as_secs(),
                    // Two are the owner's: its lease, and the app's.
                    in_flight: live.lease.holders().saturating_sub(2),
                    footprint: (&live.lease.footprint).into(),
                    memory_limit: self.config.memory_limit_of(&app.name),
                }),
                refused: slot.refusal.as_ref().map(|refusal| RefusalStatus {
                    reason: refusal.reason.clone(),
                    remedy: refusal.remedy.clone(),
                }),
                quarantined: self.quarantined(path).count(),
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
                footprint: (&retiring.footprint).into(),
            }
        });
        Status {
            process: Process {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                keys: process::plugin_keys(),
                unloading_off: process::unloading_is_off().map(str::to_owned),
            },
            apps,
            retiring: retiring.collect(),
        }
    }
}
