//! The settings of apps by their names, as a configuration file and `--option` have them.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{AppOptions, Policy};
use crate::id::{ArtifactPath, GroupName};
use read::{duration, limit, number, size, truth};

pub(super) mod read;

/// So many characters of a wrong value are shown.
const LONGEST: usize = 60;
/// Looking more often would take a processor's time for itself.
const SHORTEST_POLL: Duration = Duration::from_millis(10);

/// Why a setting cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is none of that name.
    #[error("unknown key `{key}`{hint}")]
    Unknown {
        /// The name.
        key: String,
        /// What was meant, perhaps; begins with "; ", or is empty.
        hint: String,
    },
    /// Its value is not one.
    #[error("`{key}` is {found}; it must be {expected}")]
    Wrong {
        /// Its name.
        key: String,
        /// What was given.
        found: String,
        /// What is right.
        expected: String,
    },
}

impl OptionError {
    /// That a key is none of those.
    #[must_use]
    pub fn unknown(key: &str, known: &[&str]) -> Self {
        let nearest = nearest(key, known.iter().copied());
        Self::Unknown {
            key: key.to_owned(),
            hint: nearest.map_or_else(String::new, |it| format!("; did you mean `{it}`?")),
        }
    }

    /// That a key's value is not what it must be.
    #[must_use]
    pub fn wrong(key: &str, found: &Value, expected: impl Into<String>) -> Self {
        let mut found = found.to_string();
        if let Some((cut, _)) = found.char_indices().nth(LONGEST) {
            found.truncate(cut);
            found.push('…');
        }
        Self::Wrong {
            key: key.to_owned(),
            found: format!("`{found}`"),
            expected: expected.into(),
        }
    }
}

/// The one of those names that may have been meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// All settings of an app.
pub const KEYS: &[&str] = &[
    "reload",
    "preload",
    "overlap",
    "settle",
    "poll",
    "track",
    "drain",
    "setup-timeout",
    "cleanup-timeout",
    "probe",
    "probe-timeout",
    "guard",
    "wait-timeout",
    "max-waiting",
    "max-requests",
    "max-age",
    "memory-limit",
    "max-quarantined",
    "allow-panic-abort",
    "state-limit",
    "group",
];

impl AppOptions {
    /// Sets one of [`KEYS`]. Globs begin in `dir`.
    ///
    /// # Errors
    /// When there is none of that name, or the value is not one for it.
    pub fn set(&mut self, key: &str, value: &Value, dir: &Path) -> Result<(), OptionError> {
        let wrong = |expected: &str| OptionError::wrong(key, value, expected);
        match key {
            "reload" => {
                self.reload = match value.as_str() {
                    Some("eager") => Policy::Eager,
                    Some("on-request") => Policy::OnRequest,
                    Some("manual") => Policy::Manual,
                    _ => return Err(wrong("\"eager\", \"on-request\" or \"manual\"")),
                }
            }
            "preload" => self.preload = truth(key, value)?,
            "overlap" => self.overlap = truth(key, value)?,
            "settle" => self.settle = duration(key, value)?,
            "poll" => self.poll = poll(key, value)?,
            "track" => self.track = globs(key, value, dir)?,
            "drain" => self.drain = duration(key, value)?,
            "setup-timeout" => self.setup_timeout = limit(key, value)?,
            "cleanup-timeout" => self.cleanup_timeout = duration(key, value)?,
            "probe" => {
                self.probe = match value.as_str() {
                    Some("") => None,
                    Some(path) if path.starts_with('/') && path.parse::<http::Uri>().is_ok() => {
                        Some(path.to_owned())
                    }
                    _ => return Err(wrong("a path that begins with `/`, or \"\"")),
                }
            }
            "probe-timeout" => self.probe_timeout = limit(key, value)?,
            "guard" => self.guard = duration(key, value)?,
            "wait-timeout" => self.wait_timeout = duration(key, value)?,
            "max-waiting" => {
                self.max_waiting = number(key, value)?;
                if self.max_waiting == 0 {
                    return Err(wrong("a whole number from 1"));
                }
            }
            "max-requests" => self.max_requests = number(key, value)?,
            "max-age" => self.max_age = duration(key, value)?,
            "memory-limit" => self.memory_limit = size(key, value)?,
            "max-quarantined" => self.max_quarantined = number(key, value)?,
            "allow-panic-abort" => self.allow_panic_abort = truth(key, value)?,
            "state-limit" => self.state_limit = size(key, value)?,
            "group" => self.group = group(key, value)?,
            _ => return Err(OptionError::unknown(key, KEYS)),
        }
        Ok(())
    }
}

fn poll(key: &str, value: &Value) -> Result<Duration, OptionError> {
    let time = duration(key, value)?;
    if !time.is_zero() && time < SHORTEST_POLL {
        let expected = "\"0s\" (never), or from \"10ms\"";
        return Err(OptionError::wrong(key, value, expected));
    }
    Ok(time)
}

/// Whether there is a group of that name is for those to say who know all groups.
fn group(key: &str, value: &Value) -> Result<Option<GroupName>, OptionError> {
    let wrong = |more: &str| {
        let expected = format!("a group's name, or \"\" for none{more}");
        OptionError::wrong(key, value, expected)
    };
    match value.as_str() {
        Some("") => Ok(None),
        Some(name) => GroupName::try_from(name)
            .map(Some)
            .map_err(|error| wrong(&format!(": {error}"))),
        None => Err(wrong("")),
    }
}

fn globs(key: &str, value: &Value, dir: &Path) -> Result<Vec<String>, OptionError> {
    let wrong = || OptionError::wrong(key, value, "a list of globs, as in [\"templates/**\"]");
    let list = match value {
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(list) => list,
        _ => return Err(wrong()),
    };
    list.iter()
        .map(|glob| {
            let glob = glob
                .as_str()
                .filter(|glob| !glob.is_empty())
                .ok_or_else(wrong)?;
            let absolute = absolute(glob, dir).ok_or_else(wrong)?;
            match globset::Glob::new(&absolute) {
                Ok(_) => Ok(absolute),
                Err(error) => Err(OptionError::wrong(key, value, format!("globs: {error}"))),
            }
        })
        .collect()
}

/// `None`: it is no path's.
fn absolute(glob: &str, dir: &Path) -> Option<String> {
    if Path::new(glob).is_absolute() {
        return Some(glob.to_owned());
    }
    let mut base = dir.to_owned();
    let mut parts = Path::new(glob).components().peekable();
    while let Some(part @ (Component::CurDir | Component::ParentDir)) = parts.peek() {
        base.push(part);
        parts.next();
    }
    let base = ArtifactPath::new(base).ok()?;
    // A directory's own name may have what is special in a glob.
    let base = globset::escape(&base.to_string());
    let rest: PathBuf = parts.collect();
    Some(Path::new(&base).join(rest).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
