//! `replug.toml`: what an operator wants, written down.

use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

mod apps;
mod groups;
mod problem;
#[cfg(test)]
mod tests;

pub use problem::{FileError, Problem};

use super::{
    AppOptions, GroupOptions, ListenAddress, Mount, OptionError,
    group::GROUP_KEYS,
    option::{KEYS, read::some},
    value::to_json,
};
use crate::id::{AppName, ArtifactPath, GroupName};
use groups::Places;
use problem::Problems;

/// The file that is read unless another is named.
pub const USUAL: &str = "replug.toml";

/// A configuration file, read and found to be right. Paths in it are absolute, or begin in the
/// directory that it stands in.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// `server.listen`
    pub listen: Option<Vec<ListenAddress>>,
    /// `server.threads`
    pub threads: Option<NonZeroUsize>,
    /// `server.staging-dir`
    pub staging_dir: Option<PathBuf>,
    /// `server.log-file`
    pub log_file: Option<PathBuf>,
    /// `server.state-dir`
    pub state_dir: Option<PathBuf>,
    /// `server.control`: a path, or `none`.
    pub control: Option<PathBuf>,
    /// `plugins.dirs`
    pub dirs: Vec<PathBuf>,
    /// `[defaults]`
    pub defaults: Vec<(String, Value)>,
    /// `[apps.NAME]`
    pub apps: BTreeMap<AppName, FileApp>,
    /// `[groups.NAME]`; each that the file names somewhere is there.
    pub groups: BTreeMap<GroupName, GroupOptions>,
}

/// `[apps.NAME]`
#[derive(Clone, Debug, Default)]
pub struct FileApp {
    /// Its artifact.
    pub path: Option<PathBuf>,
    /// Where to mount it.
    pub mount: Option<Mount>,
    /// What is set for it; globs are still relative.
    pub options: Vec<(String, Value)>,
    /// What it is handed.
    pub settings: Map<String, Value>,
}

const TABLES: &[&str] = &["server", "plugins", "defaults", "apps", "groups"];
const SERVER: &[&str] = &[
    "listen",
    "threads",
    "staging-dir",
    "state-dir",
    "log-file",
    "control",
];
const PLUGINS: &[&str] = &["dirs"];
/// What an app has besides [`KEYS`].
const APP: &[&str] = &["path", "mount", "settings"];

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or something in it is wrong; all that is wrong is named, with its
    /// place.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let unreadable = |reason: io::Error| FileError::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        Self::parse(&absolute, &text).map_err(|problems| FileError::Wrong {
            path: path.to_owned(),
            problems,
        })
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            problems.add(error.span(), error.message());
        }
        let mut file = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        if problems.is_empty() {
            let mut reader = Reader {
                dir: path.parent().unwrap_or(Path::new("/")),
                file: &mut file,
                problems: &mut problems,
                places: Places::default(),
            };
            reader.top(table.get_ref());
            reader.check_groups();
        }
        problems.into_result().map(|()| file)
    }
}

struct Reader<'a, 't> {
    dir: &'a Path,
    file: &'a mut ConfigFile,
    problems: &'a mut Problems<'t>,
    places: Places,
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

impl Reader<'_, '_> {
    fn top(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match &**key.get_ref() {
                "server" => self.each(key, value, SERVER, Self::server),
                "plugins" => self.each(key, value, PLUGINS, Self::plugins),
                "defaults" => self.each(key, value, KEYS, |this, key, value| {
                    let option = this.option(None, key, value)?;
                    this.file.defaults.push(option);
                    Ok(())
                }),
                "apps" => self.apps(key, value),
                "groups" => self.groups(key, value),
                other => {
                    let error = unknown(other, TABLES);
                    self.problems.add(Some(key.span()), &error.to_string());
                }
            }
        }
    }

    /// Does `read` with each entry of a table.
    fn each(
        &mut self,
        name: &Key<'_>,
        table: &Spanned<DeValue<'_>>,
        known: &[&str],
        mut read: impl FnMut(&mut Self, &str, &Spanned<DeValue<'_>>) -> Result<(), OptionError>,
    ) {
        let Some(table) = self.table(name, table) else {
            return;
        };
        for (key, value) in table {
            let text = key.get_ref();
            let result = if known.contains(&&**text) {
                read(self, text, value).map_err(|error| (error, value.span()))
            } else {
                Err((unknown(text, known), key.span()))
            };
            if let Err((error, span)) = result {
                self.problems.add(Some(span), &error.to_string());
            }
        }
    }

    fn table<'v, 'i>(
        &mut self,
        name: &Key<'_>,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let text = format!("`{0}` must be a table: [{0}]", name.get_ref());
            self.problems.add(Some(name.span()), &text);
        }
        table
    }

    fn server(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<(), OptionError> {
        let value = to_json(value.get_ref());
        match key {
            "listen" => {
                let addresses = ListenAddress::list(key, &value, self.dir)?;
                self.file.listen = Some(addresses);
            }
            "threads" => self.file.threads = Some(some(key, &value)?),
            "staging-dir" => self.file.staging_dir = Some(self.path(key, &value)?),
            "log-file" => self.file.log_file = Some(self.path(key, &value)?),
            "state-dir" => self.file.state_dir = Some(self.path(key, &value)?),
            _ => {
                self.file.control = Some(match value.as_str() {
                    Some("none") => PathBuf::from("none"),
                    _ => self.path(key, &value)?,
                });
            }
        }
        Ok(())
    }

    fn plugins(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<(), OptionError> {
        let value = to_json(value.get_ref());
        let wrong = || OptionError::wrong(key, &value, "a list of directories");
        for dir in value.as_array().ok_or_else(wrong)? {
            let dir = self.path(key, dir)?;
            self.file.dirs.push(dir);
        }
        Ok(())
    }

    fn path(&self, key: &str, value: &Value) -> Result<PathBuf, OptionError> {
        let text = value.as_str().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| OptionError::wrong(key, value, "a path"))?;
        let path = ArtifactPath::new(self.dir.join(text));
        path.map(|path| path.as_path().to_owned())
            .map_err(|_| OptionError::wrong(key, value, "a path"))
    }

    /// A setting of an app, or of all, tried out on options of nobody's.
    fn option(
        &mut self,
        app: Option<&AppName>,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(String, Value), OptionError> {
        let at = value.span().start;
        let value = to_json(value.get_ref());
        let mut nobodys = AppOptions::default();
        nobodys.set(key, &value, self.dir)?;
        if key == "group" {
            self.places.say_group(app, nobodys.group, at);
        }
        Ok((key.to_owned(), value))
    }
}

/// That a key is none of those; it may be one of another table.
fn unknown(key: &str, known: &[&str]) -> OptionError {
    let places: Vec<&str> = [
        (SERVER, "[server]"),
        (PLUGINS, "[plugins]"),
        (KEYS, "[defaults] or [apps.NAME]"),
        (APP, "[apps.NAME]"),
        (GROUP_KEYS, "[groups.NAME]"),
    ]
    .into_iter()
    .filter_map(|(keys, place)| keys.contains(&key).then_some(place))
    .collect();
    if places.is_empty() {
        return unknown_anywhere(key, known);
    }
    OptionError::Unknown {
        key: key.to_owned(),
        hint: format!(" here; it belongs under {}", places.join(" or ")),
    }
}

fn unknown_anywhere(key: &str, known: &[&str]) -> OptionError {
    match OptionError::unknown(key, known) {
        OptionError::Unknown { key, hint } if hint.is_empty() && known.contains(&"settings") => {
            let hint = "; what the app itself is to be handed belongs under [apps.NAME.settings]";
            OptionError::Unknown {
                key,
                hint: hint.to_owned(),
            }
        }
        error => error,
    }
}
