//! The options of `replug serve`, and how their values are written.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde_json::{Map, Value};

use crate::{
    config::{
        AppDefaults, ByteSize, ByteSizeError, Config, ControlSocket, ListenAddress, Mount, Source,
    },
    id::AppName,
};

/// What `serve` and `dev` have in common.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Where to listen: HOST:PORT (port 0: any that is free) or unix:PATH. May be given again.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    listen: Vec<ListenAddress>,
    /// HTTP threads; by default as many as there are processor cores.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// A setting of an app: a TOML value, or plain text. May be given again.
    #[arg(long = "set", value_name = "NAME.KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<Setting>,
    /// How long requests of an old generation may go on before they are cut.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    drain: Duration,
    /// How long an app may take to set itself up.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    setup_timeout: Duration,
    /// How long an app's cleanup hooks may take together.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    cleanup_timeout: Duration,
    /// Where private copies of libraries are made; must allow executing. By default the system's
    /// temporary directory.
    #[arg(long, value_name = "DIR")]
    staging_dir: Option<PathBuf>,
    /// Take plugins built with panic = "abort": any panic in one ends the host.
    #[arg(long)]
    allow_panic_abort: bool,
    /// Refuse to reload an app of which so many old generations stay loaded, because something of
    /// theirs is still in use; 0: never.
    #[arg(long, value_name = "N", default_value_t = AppDefaults::default().max_quarantined)]
    max_quarantined: usize,
    /// Memory that a generation may have in use, of all apps or of one: 256M. What is beyond it
    /// makes a fresh generation. May be given again.
    #[arg(long, value_name = "[NAME=]SIZE", value_parser = parse_memory_limit)]
    memory_limit: Vec<MemoryLimit>,
    /// Where `replug status` and `replug reload` reach this host: the path of a socket that is
    /// made, or `none`. By default replug.sock in the runtime directory.
    #[arg(long, value_name = "PATH", env = "REPLUG_CONTROL")]
    control: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct MemoryLimit {
    app: Option<AppName>,
    size: ByteSize,
}

#[derive(Clone, Debug)]
struct Setting {
    app: AppName,
    key: String,
    value: Value,
}

pub(super) fn parse_source(text: &str) -> Result<Source, String> {
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
    })
}

fn parse_memory_limit(text: &str) -> Result<MemoryLimit, String> {
    let (app, size) = match text.split_once('=') {
        Some((app, size)) => (
            Some(AppName::try_from(app).map_err(|error| error.to_string())?),
            size,
        ),
        None => (None, text),
    };
    let size = size
        .parse()
        .map_err(|error: ByteSizeError| error.to_string())?;
    Ok(MemoryLimit { app, size })
}

fn parse_setting(text: &str) -> Result<Setting, String> {
    let shape = || "write NAME.KEY=VALUE, as in hello.greeting=hi".to_owned();
    let (left, value) = text.split_once('=').ok_or_else(shape)?;
    let (app, key) = left.rsplit_once('.').ok_or_else(shape)?;
    if key.is_empty() {
        return Err(shape());
    }
    let app = AppName::try_from(app).map_err(|error| error.to_string())?;
    // `1`, `true` and `[1, 2]` are values of TOML; `hi` is not, and is text.
    let value = toml::from_str::<BTreeMap<String, Value>>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    Ok(Setting {
        app,
        key: key.to_owned(),
        value,
    })
}

impl Options {
    pub(in crate::cli) fn into_config(self, sources: Vec<Source>) -> Config {
        let mut settings: BTreeMap<AppName, Map<String, Value>> = BTreeMap::new();
        for Setting { app, key, value } in self.settings {
            settings.entry(app).or_default().insert(key, value);
        }
        let mut memory_limit = 0;
        let mut memory_limits = BTreeMap::new();
        for MemoryLimit { app, size } in self.memory_limit {
            match app {
                Some(app) => drop(memory_limits.insert(app, size.0)),
                None => memory_limit = size.0,
            }
        }
        let control = match self.control {
            None => Some(ControlSocket::usual()),
            Some(path) if path == Path::new("none") => None,
            Some(path) => Some(ControlSocket::Named(path)),
        };
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Config {
            listen: self.listen,
            threads: self.threads.unwrap_or_else(cores),
            sources,
            staging_dir: self.staging_dir,
            defaults: AppDefaults {
                drain: self.drain,
                setup_timeout: self.setup_timeout,
                cleanup_timeout: self.cleanup_timeout,
                allow_panic_abort: self.allow_panic_abort,
                max_quarantined: self.max_quarantined,
                memory_limit,
            },
            memory_limits,
            settings,
            control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_with_and_without_a_mount() {
        let check = |text: &str, path: &str, mount: Option<&str>| {
            let source = parse_source(text).unwrap();
            let mount = mount.map(|mount| mount.parse().unwrap());
            assert_eq!(
                source,
                Source {
                    path: path.into(),
                    mount
                }
            );
        };
        check("libx.so", "libx.so", None);
        check("libx.so=/", "libx.so", Some("/"));
        check("a=b/libx.so=/shop", "a=b/libx.so", Some("/shop"));
        assert!(parse_source("=/x").is_err());
        assert!(parse_source("libx.so=/a//b").is_err());
    }

    #[test]
    fn memory_limits_are_of_all_apps_or_of_one() {
        let all = parse_memory_limit("256M").unwrap();
        assert_eq!((all.app, all.size), (None, ByteSize(256 << 20)));
        let one = parse_memory_limit("shop=1G").unwrap();
        assert_eq!(one.app.unwrap().as_str(), "shop");
        assert_eq!(one.size, ByteSize(1 << 30));
        for bad in ["=1G", "shop=", "shop=many"] {
            assert!(parse_memory_limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_toml_values_or_text() {
        let value = |text: &str| parse_setting(text).unwrap().value;
        assert_eq!(value("hello.n=3"), Value::from(3));
        assert_eq!(value("hello.on=true"), Value::from(true));
        assert_eq!(value("hello.list=[1, 2]"), serde_json::json!([1, 2]));
        assert_eq!(value("hello.greeting=hi there"), Value::from("hi there"));
        assert_eq!(value("hello.path=/a=b"), Value::from("/a=b"));
        for bad in ["hello=1", "hello.x", ".x=1", "hello.=1"] {
            assert!(parse_setting(bad).is_err(), "{bad}");
        }
    }
}
