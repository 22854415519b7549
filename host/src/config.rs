//! What the host is to do, validated.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf};

use serde_json::{Map, Value};

use crate::id::{AppName, GroupName};

mod app;
mod cgroup;
mod control;
mod difference;
mod file;
mod group;
mod identity;
mod listen;
mod mount;
mod option;
mod resolve;
mod scheduling;
mod size;
mod source;
mod user;
mod value;

pub use app::{AppConfig, AppOptions, Policy};
pub use cgroup::CgroupPlace;
pub use control::ControlSocket;
pub use difference::{AppDifference, Difference};
pub use file::{ConfigFile, FileApp, FileError, Problem, USUAL};
pub use group::{GROUP_KEYS, GroupOptions};
pub use identity::{Identity, IdentityError, NotPermitted};
pub use listen::{ListenAddress, ListenAddressError};
pub use mount::{Mount, MountError};
pub use option::{KEYS, OptionError, nearest};
pub use resolve::{AppOption, AppSetting, GroupOption, Overrides, ResolveError};
pub use scheduling::Scheduling;
pub use size::{ByteSize, ByteSizeError};
pub use source::{Source, SourceError, SourceKind};
pub use user::{SystemGroup, SystemUser, UserEntry, UserError};
pub use value::value_of;

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
    /// The process groups, by name; each that an app names is among them.
    pub groups: BTreeMap<GroupName, GroupOptions>,
    /// Where the log goes to; `None`: to standard error.
    pub log_file: Option<PathBuf>,
    /// Where the state that apps hand over is kept across restarts of the host; `None`: it is not.
    pub state_dir: Option<PathBuf>,
    /// Where commands reach this host; `None`: nowhere.
    pub control: Option<ControlSocket>,
    /// The file that was read, absolute; `None`: there was none.
    pub file: Option<PathBuf>,
}

impl Config {
    /// What holds for an app.
    #[must_use]
    pub fn options_of(&self, name: &AppName) -> &AppOptions {
        self.apps
            .get(name)
            .map_or(&self.defaults, |app| &app.options)
    }

    /// The process group that an app is in; `None`: it runs in the host itself.
    #[must_use]
    pub fn group_of(&self, name: &AppName) -> Option<(&GroupName, &GroupOptions)> {
        let group = self.options_of(name).group.as_ref()?;
        self.groups.get_key_value(group)
    }

    /// Whether an app that something was said of is in a group, or all others are.
    #[must_use]
    pub fn names_group(&self, group: &GroupName) -> bool {
        let of_all = std::iter::once(&self.defaults);
        let mut all = of_all.chain(self.apps.values().map(|app| &app.options));
        all.any(|options| options.group.as_ref() == Some(group))
    }

    /// Where an app is to be mounted. What was said of its artifact wins over what was said of its
    /// name; without either it is `/` if it is `alone`, else `/` and its name.
    #[must_use]
    pub fn mount_of(&self, name: &AppName, said: Option<&Mount>, alone: bool) -> Mount {
        let of_name = || self.apps.get(name)?.mount.as_ref();
        match said.or_else(of_name) {
            Some(mount) => mount.clone(),
            None if alone => Mount::root(),
            None => Mount::of(name),
        }
    }

    /// Whether an app is all that there is to serve, and has no name but its manifest's: such a
    /// one is mounted at `/`.
    #[must_use]
    pub fn is_alone(&self, source: &Source) -> bool {
        self.sources.len() == 1 && source.name.is_none()
    }

    /// The apps that something was said of, and that are not `known`: their names may be slips.
    pub fn strangers(&self, known: impl Fn(&AppName) -> bool) -> impl Iterator<Item = &AppName> {
        self.apps.keys().filter(move |name| !known(name))
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
