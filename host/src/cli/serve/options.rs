//! The options of `replug serve`, and how their values are written.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
};

use serde_json::{Map, Value};

use super::restart::Inheritance;
use crate::{
    config::{
        AppConfig, AppOptions, Config, ConfigFile, ControlSocket, FileApp, FileError,
        ListenAddress, Mount, OptionError, Source, USUAL,
    },
    id::AppName,
};

/// What `serve` and `dev` have in common. What is given here wins over the configuration file.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    pub(in crate::cli) file: FileArgs,
    /// Where to listen: HOST:PORT (port 0: any that is free) or unix:PATH. May be given again.
    /// 127.0.0.1:8000 by default.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<ListenAddress>,
    /// HTTP threads; by default as many as there are processor cores.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// A setting of an app, handed to its code: a TOML value, or plain text. May be given again.
    #[arg(long = "set", value_name = "NAME.KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<Setting>,
    /// An option of all apps, or of one, as the configuration file has it: `drain=10s`,
    /// `shop.reload=on-request`. May be given again.
    #[arg(long = "option", value_name = "[NAME.]KEY=VALUE", value_parser = parse_option)]
    options: Vec<AppOption>,
    #[command(flatten)]
    pub(in crate::cli) inheritance: Inheritance,
    #[command(flatten)]
    common: CommonOptions,
    /// Where private copies of libraries are made; must allow executing. By default the system's
    /// temporary directory.
    #[arg(long, value_name = "DIR")]
    staging_dir: Option<PathBuf>,
    /// Where the state that apps hand over is kept when the host ends. By default it is not.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where `replug status` and other commands reach this host: the path of a socket that is
    /// made, or `none`. By default replug.sock in the runtime directory.
    #[arg(long, value_name = "PATH", env = "REPLUG_CONTROL")]
    control: Option<PathBuf>,
}

/// Which configuration file.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct FileArgs {
    /// The configuration file. By default replug.toml in the current directory, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read no configuration file.
    #[arg(long, conflicts_with = "config")]
    no_config: bool,
}

/// The options of apps that are wanted most; `--option` has them all.
#[derive(Clone, Debug, clap::Args)]
struct CommonOptions {
    /// When to reload: eager, on-request or manual.
    #[arg(long, value_name = "WHEN", value_parser = |text: &str| parse_one("reload", text))]
    reload: Option<Value>,
    /// Load apps by their first request, and not at once.
    #[arg(long)]
    no_preload: bool,
    /// Quiet time that ends a set of changes, for apps that track files.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_one("settle", text))]
    settle: Option<Value>,
    /// Look at the files so often, too, where the file system tells of no changes; 0s: never.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_one("poll", text))]
    poll: Option<Value>,
    /// How long requests of an old generation may go on before they are cut. 30s by default.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_one("drain", text))]
    drain: Option<Value>,
    /// How long an app may take to set itself up. 30s by default.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_one("setup-timeout", text))]
    setup_timeout: Option<Value>,
    /// How long an app's cleanup hooks may take together, and saving its state. 5s by default.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_one("cleanup-timeout", text))]
    cleanup_timeout: Option<Value>,
    /// A path below the mount that a new generation must answer with 2xx before it serves.
    #[arg(long, value_name = "PATH", value_parser = |text: &str| parse_one("probe", text))]
    probe: Option<Value>,
    /// How long a new generation is watched, and rolled back if it does worse than the one before;
    /// 0s: not. 10s by default.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_one("guard", text))]
    guard: Option<Value>,
    /// How long a request may wait for a generation. 30s by default.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_one("wait-timeout", text))]
    wait_timeout: Option<Value>,
    /// Make a fresh generation after so many requests, less up to a tenth by chance; 0: never.
    #[arg(long, value_name = "N", value_parser = |text: &str| parse_one("max-requests", text))]
    max_requests: Option<Value>,
    /// Make a fresh generation after so long, less up to a tenth by chance; 0s: never.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_one("max-age", text))]
    max_age: Option<Value>,
    /// Take plugins built with panic = "abort": any panic in one ends the host.
    #[arg(long)]
    allow_panic_abort: bool,
    /// Refuse to reload an app of which so many old generations stay loaded, because something of
    /// theirs is still in use; 0: never. 8 by default.
    #[arg(long, value_name = "N", value_parser = |text: &str| parse_one("max-quarantined", text))]
    max_quarantined: Option<Value>,
    /// Memory that a generation may have in use, of all apps or of one: 256M. What is beyond it
    /// makes a fresh generation. May be given again.
    #[arg(long, value_name = "[NAME=]SIZE", value_parser = parse_memory_limit)]
    memory_limit: Vec<AppOption>,
    /// Bytes of state that an app may hand to its next generation. 16M by default.
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| parse_one("state-limit", text))]
    state_limit: Option<Value>,
}

/// An option of one app, or of all.
#[derive(Clone, Debug, PartialEq)]
struct AppOption {
    app: Option<AppName>,
    key: String,
    value: Value,
}

#[derive(Clone, Debug)]
struct Setting {
    app: AppName,
    key: String,
    value: Value,
}

pub(in crate::cli) fn parse_source(text: &str) -> Result<Source, String> {
    // A path may have `=` in it; a mount begins with a slash.
    let (path, mount) = match text.rsplit_once("=/") {
        Some((path, mount)) => (path, Some(format!("/{mount}").parse::<Mount>())),
        None => (text, None),
    };
    if path.is_empty() {
        return Err("the path is empty".to_owned());
    }
    let mount = mount.transpose().map_err(|error| error.to_string())?;
    Ok(Source {
        path: path.into(),
        mount,
        name: None,
    })
}

/// The value of that option, if it is one.
fn parse_one(key: &str, text: &str) -> Result<Value, String> {
    let value = toml_value(text);
    let mut nobodys = AppOptions::default();
    match nobodys.set(key, &value, Path::new("/")) {
        Ok(()) => Ok(value),
        Err(OptionError::Wrong { expected, .. }) => Err(format!("it must be {expected}")),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_option(text: &str) -> Result<AppOption, String> {
    let shape = || "write [NAME.]KEY=VALUE, as in drain=10s or shop.drain=10s".to_owned();
    let (left, value) = text.split_once('=').ok_or_else(shape)?;
    let (app, key) = match left.rsplit_once('.') {
        Some((app, key)) => {
            let app = AppName::try_from(app).map_err(|error| error.to_string())?;
            (Some(app), key)
        }
        None => (None, left),
    };
    Ok(AppOption {
        app,
        key: key.to_owned(),
        value: parse_one(key, value)?,
    })
}

fn parse_memory_limit(text: &str) -> Result<AppOption, String> {
    let (app, size) = match text.split_once('=') {
        Some((app, size)) => (
            Some(AppName::try_from(app).map_err(|error| error.to_string())?),
            size,
        ),
        None => (None, text),
    };
    Ok(AppOption {
        app,
        key: "memory-limit".to_owned(),
        value: parse_one("memory-limit", size)?,
    })
}

fn parse_setting(text: &str) -> Result<Setting, String> {
    let shape = || "write NAME.KEY=VALUE, as in hello.greeting=hi".to_owned();
    let (left, value) = text.split_once('=').ok_or_else(shape)?;
    let (app, key) = left.rsplit_once('.').ok_or_else(shape)?;
    if key.is_empty() {
        return Err(shape());
    }
    let app = AppName::try_from(app).map_err(|error| error.to_string())?;
    Ok(Setting {
        app,
        key: key.to_owned(),
        value: toml_value(value),
    })
}

/// `1`, `true` and `[1, 2]` are values of TOML; `hi` is not, and is text.
fn toml_value(text: &str) -> Value {
    toml::from_str::<BTreeMap<String, Value>>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

impl FileArgs {
    /// The file that is meant; `None`: there is none.
    ///
    /// # Errors
    /// When it cannot be read, or something in it is wrong.
    pub(in crate::cli) fn read(&self) -> Result<Option<ConfigFile>, FileError> {
        let path = match &self.config {
            Some(path) => path,
            None if self.no_config => return Ok(None),
            None => Path::new(USUAL),
        };
        if self.config.is_none() && !path.exists() {
            return Ok(None);
        }
        ConfigFile::read(path).map(Some)
    }
}

impl CommonOptions {
    fn into_options(self) -> Vec<AppOption> {
        let truth = |given: bool, value: bool| given.then_some(Value::Bool(value));
        let all = [
            ("reload", self.reload),
            ("preload", truth(self.no_preload, false)),
            ("settle", self.settle),
            ("poll", self.poll),
            ("drain", self.drain),
            ("setup-timeout", self.setup_timeout),
            ("cleanup-timeout", self.cleanup_timeout),
            ("probe", self.probe),
            ("guard", self.guard),
            ("wait-timeout", self.wait_timeout),
            ("max-requests", self.max_requests),
            ("max-age", self.max_age),
            ("allow-panic-abort", truth(self.allow_panic_abort, true)),
            ("max-quarantined", self.max_quarantined),
            ("state-limit", self.state_limit),
        ];
        let given = all.into_iter().filter_map(|(key, value)| {
            Some(AppOption {
                app: None,
                key: key.to_owned(),
                value: value?,
            })
        });
        given.chain(self.memory_limit).collect()
    }
}

impl Options {
    /// What was said on the command line, over what the file says, over `defaults`.
    pub(in crate::cli) fn into_config(
        self,
        file: Option<ConfigFile>,
        sources: Vec<Source>,
        mut defaults: AppOptions,
    ) -> Config {
        let file = file.unwrap_or_default();
        let dir = file.path.parent().unwrap_or(Path::new("/")).to_owned();
        set_all(&mut defaults, &file.defaults, &dir);
        let mut apps: BTreeMap<AppName, AppConfig> = BTreeMap::new();
        let mut sources = sources;
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
                let mount = Some(mount.unwrap_or_else(|| Mount::of(&name)));
                let name = Some(name.clone());
                sources.push(Source { path, mount, name });
            }
            apps.insert(name, AppConfig { options, settings });
        }
        let dirs = file.dirs.into_iter().map(|path| Source {
            path,
            mount: None,
            name: None,
        });
        sources.extend(dirs);
        let mut given = self.common.into_options();
        given.extend(self.options);
        // For all apps first: what is said of one wins.
        given.sort_by_key(|option| option.app.is_some());
        let here = std::env::current_dir().unwrap_or_default();
        for AppOption { app, key, value } in given {
            let set = |options: &mut AppOptions| {
                if let Err(error) = options.set(&key, &value, &here) {
                    // It was tried out when it was read.
                    tracing::error!("{error}");
                }
            };
            match app {
                Some(app) => set(&mut own(&mut apps, app, &defaults).options),
                None => {
                    set(&mut defaults);
                    apps.values_mut().for_each(|app| set(&mut app.options));
                }
            }
        }
        for Setting { app, key, value } in self.settings {
            own(&mut apps, app, &defaults).settings.insert(key, value);
        }
        let control = match self.control.or(file.control) {
            None => Some(ControlSocket::usual()),
            Some(path) if path == Path::new("none") => None,
            Some(path) => Some(ControlSocket::Named(path)),
        };
        let listen = match (self.listen, file.listen) {
            (given, _) if !given.is_empty() => given,
            (_, Some(file)) => file,
            _ => vec![ListenAddress::Tcp("127.0.0.1:8000".to_owned())],
        };
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Config {
            listen,
            threads: self.threads.or(file.threads).unwrap_or_else(cores),
            sources,
            staging_dir: self.staging_dir.or(file.staging_dir),
            state_dir: self.state_dir.or(file.state_dir),
            defaults,
            apps,
            control,
        }
    }
}

/// What is said of that app alone.
fn own<'a>(
    apps: &'a mut BTreeMap<AppName, AppConfig>,
    name: AppName,
    defaults: &AppOptions,
) -> &'a mut AppConfig {
    apps.entry(name).or_insert_with(|| AppConfig {
        options: defaults.clone(),
        settings: Map::new(),
    })
}

fn set_all(options: &mut AppOptions, given: &[(String, Value)], dir: &Path) {
    for (key, value) in given {
        if let Err(error) = options.set(key, value, dir) {
            // It was tried out when it was read.
            tracing::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests;
