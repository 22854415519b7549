//! What the host is to do, validated.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, time::Duration};

use serde_json::{Map, Value};

use crate::id::AppName;

mod listen;
mod mount;

pub use listen::{ListenAddress, ListenAddressError};
pub use mount::{Mount, MountError};

/// Everything `replug serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// HTTP threads.
    pub threads: NonZeroUsize,
    /// What to serve.
    pub sources: Vec<Source>,
    /// Where private copies of artifacts are made; `None`: the system's temporary directory.
    pub staging_dir: Option<PathBuf>,
    /// What holds for every app.
    pub defaults: AppDefaults,
    /// Settings handed to apps, by name.
    pub settings: BTreeMap<AppName, Map<String, Value>>,
}

/// A library or a directory of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as it was given.
    pub path: PathBuf,
    /// Where to mount it, if that was said.
    pub mount: Option<Mount>,
}

/// What holds for every app.
#[derive(Clone, Copy, Debug)]
pub struct AppDefaults {
    /// How long requests of an old generation may go on before they are cut.
    pub drain: Duration,
    /// How long an app may take to set itself up.
    pub setup_timeout: Duration,
    /// How long its cleanup hooks may take together.
    pub cleanup_timeout: Duration,
    /// Whether plugins built with `panic = "abort"` are taken: any panic in one ends the host.
    pub allow_panic_abort: bool,
}

impl Default for AppDefaults {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            setup_timeout: Duration::from_secs(30),
            cleanup_timeout: Duration::from_secs(5),
            allow_panic_abort: false,
        }
    }
}

impl Config {
    /// The settings of an app; empty if there are none.
    #[must_use]
    pub fn settings_of(&self, name: &AppName) -> Map<String, Value> {
        self.settings.get(name).cloned().unwrap_or_default()
    }
}
