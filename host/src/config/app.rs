//! What can be set for each app, and holds for all unless one has it otherwise.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Mount;
use crate::id::GroupName;

/// When an app is reloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Policy {
    /// As soon as its file changes, in the background: no request waits.
    #[default]
    Eager,
    /// By the first request after a change, which waits and is answered by the new generation.
    OnRequest,
    /// Only when it is asked for.
    Manual,
}

/// How an app is loaded, reloaded and ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AppOptions {
    /// When it is reloaded.
    pub reload: Policy,
    /// Whether it is loaded at once; else by its first request.
    pub preload: bool,
    /// Whether two generations may be alive at the same time. If not, requests wait while the old
    /// one stops and the new one starts.
    pub overlap: bool,
    /// A set of changes to its library and to what it tracks has ended when nothing happened for
    /// so long.
    pub settle: Duration,
    /// How often its files are looked at where the file system tells of no changes; zero: never.
    pub poll: Duration,
    /// Files that make it reload when they change: absolute globs.
    pub track: Vec<String>,
    /// How long requests of an old generation may go on before they are cut.
    pub drain: Duration,
    /// How long it may take to set itself up.
    pub setup_timeout: Duration,
    /// How long its cleanup hooks may take together.
    pub cleanup_timeout: Duration,
    /// What is asked of a new generation before it serves: a path below the mount, that must be
    /// answered with 2xx.
    pub probe: Option<String>,
    /// How long the answer may take.
    pub probe_timeout: Duration,
    /// How long a new generation is watched for panics and 5xx after it began to serve; zero: not.
    pub guard: Duration,
    /// How long a request waits for a generation before it is answered with 503.
    pub wait_timeout: Duration,
    /// How many requests may wait at the same time; further ones are answered with 503 at once.
    pub max_waiting: usize,
    /// A fresh generation is made after so many requests, less up to a tenth by chance; 0: never.
    pub max_requests: u64,
    /// A fresh generation is made after so long, less up to a tenth by chance; zero: never.
    pub max_age: Duration,
    /// Bytes that a generation may have in use on its heap; 0: any number.
    pub memory_limit: u64,
    /// So many old generations may stay loaded before reloads are refused; 0: any number.
    pub max_quarantined: usize,
    /// Whether a plugin built with `panic = "abort"` is taken: any panic in it ends the host.
    pub allow_panic_abort: bool,
    /// Bytes of state that it may hand to its next generation.
    pub state_limit: u64,
    /// The process group whose workers run it; `None`: the host itself does.
    #[serde(skip)]
    pub group: Option<GroupName>,
}

impl Default for AppOptions {
    fn default() -> Self {
        Self {
            reload: Policy::default(),
            preload: true,
            overlap: true,
            settle: Duration::from_millis(50),
            poll: Duration::ZERO,
            track: Vec::new(),
            drain: Duration::from_secs(30),
            setup_timeout: Duration::from_secs(30),
            cleanup_timeout: Duration::from_secs(5),
            probe: None,
            probe_timeout: Duration::from_secs(5),
            guard: Duration::from_secs(10),
            wait_timeout: Duration::from_secs(30),
            max_waiting: 1_000,
            max_requests: 0,
            max_age: Duration::ZERO,
            memory_limit: 0,
            max_quarantined: 8,
            allow_panic_abort: false,
            state_limit: 16 << 20,
            group: None,
        }
    }
}

impl AppOptions {
    /// Bytes that a generation may have in use; `None`: any number.
    #[must_use]
    pub fn most_memory(&self) -> Option<u64> {
        Some(self.memory_limit).filter(|bytes| *bytes > 0)
    }
}

/// An app that the operator has said something of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppConfig {
    /// Where it is mounted, unless it was said of its artifact; `None`: at `/` and its name.
    pub mount: Option<Mount>,
    /// How it is loaded, reloaded and ended: the defaults, with what was said for it.
    pub options: AppOptions,
    /// What it is handed as it is.
    pub settings: Map<String, Value>,
}
