//! What the command line says, over what the file says, over the defaults.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
};

use serde_json::{Map, Value};

use super::{
    AppConfig, AppOptions, Config, ConfigFile, ControlSocket, GroupOptions, ListenAddress,
    OptionError, Source, SourceKind, file::FileApp,
};
use crate::id::{AppName, ArtifactPath, GroupName};

mod groups;
#[cfg(test)]
mod tests;

pub use groups::ResolveError;

/// What the command line says. It wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// What to serve besides what the file names.
    pub sources: Vec<Source>,
    /// Where to listen, instead of where the file says; empty: nothing was said.
    pub listen: Vec<ListenAddress>,
    /// HTTP threads.
    pub threads: Option<NonZeroUsize>,
    /// Where private copies are made.
    pub staging_dir: Option<PathBuf>,
    /// Where the log goes to.
    pub log_file: Option<PathBuf>,
    /// Where apps' state is kept.
    pub state_dir: Option<PathBuf>,
    /// Where commands reach the host; `none`: nowhere.
    pub control: Option<PathBuf>,
    /// Options of one app, or of all.
    pub options: Vec<AppOption>,
    /// Settings, each of one app.
    pub settings: Vec<AppSetting>,
    /// Workers of a group that all apps are in which name none.
    pub processes: Option<NonZeroUsize>,
    /// The addresses of the server are those of the group that all apps are in.
    pub direct: bool,
    /// Options of one group, or of all.
    pub group_options: Vec<GroupOption>,
}

/// An option of one app, or of all: one that [`AppOptions::set`] takes.
#[derive(Clone, Debug, PartialEq)]
pub struct AppOption {
    /// The app; `None`: all.
    pub app: Option<AppName>,
    /// Which option.
    pub key: String,
    /// What for.
    pub value: Value,
}

/// Something that an app is handed as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct AppSetting {
    /// The app.
    pub app: AppName,
    /// Its name.
    pub key: String,
    /// What it is.
    pub value: Value,
}

/// An option of one process group, or of all: one that [`GroupOptions::set`] takes.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupOption {
    /// The group; `None`: all.
    pub group: Option<GroupName>,
    /// Which option.
    pub key: String,
    /// What for.
    pub value: Value,
}

impl Config {
    /// All that was said, in the order in which it wins: for one app on the command line, for all
    /// apps there, for one app in the file, for all apps there, `defaults`. For groups the same.
    ///
    /// # Errors
    /// When the command line names a group that there is not, or has groups and apps disagree.
    pub fn resolve(
        given: Overrides,
        file: Option<ConfigFile>,
        mut defaults: AppOptions,
    ) -> Result<Self, ResolveError> {
        let path = file.as_ref().map(|file| file.path.clone());
        let file = file.unwrap_or_default();
        let dir = file.path.parent().unwrap_or(Path::new("/")).to_owned();
        set_all(&mut defaults, &file.defaults, &dir);
        if given.processes.is_some() {
            defaults.group.get_or_insert_with(GroupName::usual);
        }
        let mut apps: BTreeMap<AppName, AppConfig> = BTreeMap::new();
        let mut sources = given.sources;
        for (name, app) in file.apps {
            let FileApp {
                path,
                mount,
                options: own,
                settings,
            } = app;
            let mut options = defaults.clone();
            set_all(&mut options, &own, &dir);
            if let Some(path) = path {
                add(&mut sources, path, &name);
            }
            let app = AppConfig {
                mount,
                options,
                settings,
            };
            apps.insert(name, app);
        }
        sources.extend(file.dirs.into_iter().map(|path| Source {
            path,
            mount: None,
            name: None,
            kind: SourceKind::Directory,
        }));
        override_options(given.options, &mut defaults, &mut apps);
        for AppSetting { app, key, value } in given.settings {
            own(&mut apps, app, &defaults).settings.insert(key, value);
        }
        let mut groups = file.groups;
        let unheard = override_groups(given.group_options, given.processes, &mut groups);
        let control = match given.control.or(file.control) {
            None => Some(ControlSocket::usual()),
            Some(path) if path == Path::new("none") => None,
            Some(path) => Some(ControlSocket::Named(path)),
        };
        let mut listen = match (given.listen, file.listen) {
            (given, _) if !given.is_empty() => given,
            (_, Some(file)) => file,
            _ => vec![ListenAddress::Tcp("127.0.0.1:8000".to_owned())],
        };
        if given.direct {
            let usual = groups.entry(GroupName::usual()).or_default();
            usual.listen.append(&mut listen);
        }
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let config = Self {
            listen,
            threads: given.threads.or(file.threads).unwrap_or_else(cores),
            sources,
            staging_dir: given.staging_dir.or(file.staging_dir),
            log_file: given.log_file.or(file.log_file),
            state_dir: given.state_dir.or(file.state_dir),
            defaults,
            apps,
            groups,
            control,
            file: path,
        };
        config.check_groups(unheard, given.direct)?;
        Ok(config)
    }
}

/// An app that the file names. The command line may name its library, too.
fn add(sources: &mut Vec<Source>, path: PathBuf, name: &AppName) {
    let absolute = |path: &Path| ArtifactPath::new(path).ok();
    let same = |source: &&mut Source| absolute(&source.path) == absolute(&path);
    if let Some(given) = sources.iter_mut().find(same) {
        given.name = Some(name.clone());
        given.kind = SourceKind::Library;
        return;
    }
    sources.push(Source {
        path,
        mount: None,
        name: Some(name.clone()),
        kind: SourceKind::Library,
    });
}

fn override_options(
    mut given: Vec<AppOption>,
    defaults: &mut AppOptions,
    apps: &mut BTreeMap<AppName, AppConfig>,
) {
    // For all apps first: what is said of one wins.
    given.sort_by_key(|option| option.app.is_some());
    let here = std::env::current_dir().unwrap_or_default();
    for AppOption { app, key, value } in given {
        let set = |options: &mut AppOptions| set(options, &key, &value, &here);
        match app {
            Some(app) => set(&mut own(apps, app, defaults).options),
            None => {
                set(defaults);
                apps.values_mut().for_each(|app| set(&mut app.options));
            }
        }
    }
}

/// Whom options are given for in vain: groups that there are not, or all (`None`) where there is
/// none.
fn override_groups(
    mut given: Vec<GroupOption>,
    processes: Option<NonZeroUsize>,
    groups: &mut BTreeMap<GroupName, GroupOptions>,
) -> BTreeSet<Option<GroupName>> {
    if let Some(processes) = processes {
        groups.entry(GroupName::usual()).or_default().processes = processes;
    }
    // For all groups first: what is said of one wins.
    given.sort_by_key(|option| option.group.is_some());
    let here = std::env::current_dir().unwrap_or_default();
    let mut unheard = BTreeSet::new();
    for GroupOption { group, key, value } in given {
        let is_meant = |name: &GroupName| group.as_ref().is_none_or(|group| group == name);
        let mut meant = groups
            .iter_mut()
            .filter(|(name, _)| is_meant(name))
            .peekable();
        if meant.peek().is_none() {
            unheard.insert(group.clone());
        }
        for (_, options) in meant {
            told(options.set(&key, &value, &here));
        }
    }
    unheard
}

/// What is said of that app alone.
fn own<'a>(
    apps: &'a mut BTreeMap<AppName, AppConfig>,
    name: AppName,
    defaults: &AppOptions,
) -> &'a mut AppConfig {
    apps.entry(name).or_insert_with(|| AppConfig {
        mount: None,
        options: defaults.clone(),
        settings: Map::new(),
    })
}

fn set_all(options: &mut AppOptions, given: &[(String, Value)], dir: &Path) {
    for (key, value) in given {
        set(options, key, value, dir);
    }
}

fn set(options: &mut AppOptions, key: &str, value: &Value, dir: &Path) {
    told(options.set(key, value, dir));
}

/// It was tried out when it was read.
fn told(result: Result<(), OptionError>) {
    if let Err(error) = result {
        tracing::error!("{error}");
    }
}
