//! The options of `replug serve`, and how their values are written.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    config::{
        AppOption, AppOptions, AppSetting, ConfigFile, FileError, GroupOption, GroupOptions,
        ListenAddress, Mount, OptionError, Overrides, Source, USUAL, value_of,
    },
    id::{AppName, NameError},
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
    settings: Vec<AppSetting>,
    /// An option of all apps, or of one, as the configuration file has it: `drain=10s`,
    /// `shop.reload=on-request`. May be given again.
    #[arg(long = "option", value_name = "[NAME.]KEY=VALUE", value_parser = parse_option)]
    options: Vec<AppOption>,
    /// Serve by so many worker processes: a group `default`, of all apps that name no other.
    #[arg(long, value_name = "N")]
    processes: Option<NonZeroUsize>,
    /// Have the workers of the group `default` take connections themselves, at the addresses of
    /// --listen. All apps must be in that group.
    #[arg(long, requires = "processes")]
    direct: bool,
    /// An option of all process groups, or of one, as the configuration file has it:
    /// `request-timeout=30s`, `blue.processes=4`. May be given again.
    #[arg(long = "group-option", value_name = "[NAME.]KEY=VALUE", value_parser = parse_group_option)]
    group_options: Vec<GroupOption>,
    #[command(flatten)]
    common: CommonOptions,
    /// Where private copies of libraries are made; must allow executing. By default the system's
    /// temporary directory.
    #[arg(long, value_name = "DIR")]
    staging_dir: Option<PathBuf>,
    /// Where the log goes to, instead of to standard error. Appended to; opened anew by SIGUSR1.
    #[arg(long, value_name = "PATH")]
    log_file: Option<PathBuf>,
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
    Ok(Source::given(path, mount))
}

/// The value of that option, if it is one.
fn parse_one(key: &str, text: &str) -> Result<Value, String> {
    let value = value_of(text);
    let mut nobodys = AppOptions::default();
    tried(nobodys.set(key, &value, Path::new("/")), value)
}

fn parse_group_one(key: &str, text: &str) -> Result<Value, String> {
    let value = value_of(text);
    let mut nobodys = GroupOptions::default();
    tried(nobodys.set(key, &value, Path::new("/")), value)
}

fn tried(result: Result<(), OptionError>, value: Value) -> Result<Value, String> {
    match result {
        Ok(()) => Ok(value),
        Err(OptionError::Wrong { expected, .. }) => Err(format!("it must be {expected}")),
        Err(error) => Err(error.to_string()),
    }
}

/// `[NAME.]KEY=VALUE`
fn split<Name>(text: &str, example: &str) -> Result<(Option<Name>, String, String), String>
where
    Name: for<'a> TryFrom<&'a str, Error = NameError>,
{
    let shape = || format!("write [NAME.]KEY=VALUE, as in {example}");
    let (left, value) = text.split_once('=').ok_or_else(shape)?;
    let (name, key) = match left.rsplit_once('.') {
        Some((name, key)) => {
            let name = Name::try_from(name).map_err(|error| error.to_string())?;
            (Some(name), key)
        }
        None => (None, left),
    };
    Ok((name, key.to_owned(), value.to_owned()))
}

fn parse_option(text: &str) -> Result<AppOption, String> {
    let (app, key, value) = split(text, "drain=10s or shop.drain=10s")?;
    let value = parse_one(&key, &value)?;
    Ok(AppOption { app, key, value })
}

fn parse_group_option(text: &str) -> Result<GroupOption, String> {
    let (group, key, value) = split(text, "processes=4 or blue.processes=4")?;
    let value = parse_group_one(&key, &value)?;
    Ok(GroupOption { group, key, value })
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

fn parse_setting(text: &str) -> Result<AppSetting, String> {
    let shape = || "write NAME.KEY=VALUE, as in hello.greeting=hi".to_owned();
    let (left, value) = text.split_once('=').ok_or_else(shape)?;
    let (app, key) = left.rsplit_once('.').ok_or_else(shape)?;
    if key.is_empty() {
        return Err(shape());
    }
    let app = AppName::try_from(app).map_err(|error| error.to_string())?;
    Ok(AppSetting {
        app,
        key: key.to_owned(),
        value: value_of(value),
    })
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
    /// What was said on the command line.
    pub(in crate::cli) fn into_overrides(self, sources: Vec<Source>) -> Overrides {
        let mut options = self.common.into_options();
        options.extend(self.options);
        Overrides {
            sources,
            listen: self.listen,
            threads: self.threads,
            staging_dir: self.staging_dir,
            log_file: self.log_file,
            state_dir: self.state_dir,
            control: self.control,
            options,
            settings: self.settings,
            processes: self.processes,
            direct: self.direct,
            group_options: self.group_options,
        }
    }
}

#[cfg(test)]
mod tests;
