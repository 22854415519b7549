//! What the host is to do, validated.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, time::Duration};

use serde_json::{Map, Value};

use crate::id::AppName;

mod control;
mod listen;
mod mount;
mod size;

pub use control::ControlSocket;
pub use listen::{ListenAddress, ListenAddressError};
pub use mount::{Mount, MountError};
pub use size::{ByteSize, ByteSizeError};

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
    /// Memory limits of apps that have one of their own, in bytes; 0: none.
    pub memory_limits: BTreeMap<AppName, u64>,
    /// Settings handed to apps, by name.
    pub settings: BTreeMap<AppName, Map<String, Value>>,
    /// Where commands reach this host; `None`: nowhere.
    pub control: Option<ControlSocket>,
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
    /// So many old generations of an app may stay loaded before its reloads are refused; 0: any
    /// number.
    pub max_quarantined: usize,
    /// Bytes that a generation may have in use on its heap; 0: any number.
    pub memory_limit: u64,
}

impl Default for AppDefaults {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            setup_timeout: Duration::from_secs(30),
            cleanup_timeout: Duration::from_secs(5),
            allow_panic_abort: false,
            max_quarantined: 8,
            memory_limit: 0,
        }
    }
}

impl Config {
    /// How many bytes of memory a generation of an app may have in use; `None`: any number.
    #[must_use]
    pub fn memory_limit_of(&self, name: &AppName) -> Option<u64> {
        let own = self.memory_limits.get(name).copied();
        Some(own.unwrap_or(self.defaults.memory_limit)).filter(|bytes| *bytes > 0)
    }

    /// The settings of an app; empty if there are none.
    #[must_use]
    pub fn settings_of(&self, name: &AppName) -> Map<String, Value> {
        self.settings.get(name).cloned().unwrap_or_default()
    }
}
