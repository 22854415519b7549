//! What the host is to do, validated.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf};

use serde_json::{Map, Value};

use crate::id::AppName;

mod app;
mod control;
mod file;
mod listen;
mod mount;
mod option;
mod size;

pub use app::{AppConfig, AppOptions, Policy};
pub use control::ControlSocket;
pub use file::{ConfigFile, FileApp, FileError, Problem, USUAL};
pub use listen::{ListenAddress, ListenAddressError};
pub use mount::{Mount, MountError};
pub use option::{KEYS, OptionError};
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
    pub defaults: AppOptions,
    /// What holds for some, by name.
    pub apps: BTreeMap<AppName, AppConfig>,
    /// Where the state that apps hand over is kept across restarts of the host; `None`: it is not.
    pub state_dir: Option<PathBuf>,
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
    /// Its name, if that was said: else its manifest's.
    pub name: Option<AppName>,
}

impl Config {
    /// What holds for an app.
    #[must_use]
    pub fn options_of(&self, name: &AppName) -> &AppOptions {
        self.apps
            .get(name)
            .map_or(&self.defaults, |app| &app.options)
    }

    /// The settings of an app; empty if there are none.
    #[must_use]
    pub fn settings_of(&self, name: &AppName) -> Map<String, Value> {
        self.apps
            .get(name)
            .map(|app| app.settings.clone())
            .unwrap_or_default()
    }
}
