//! The settings of apps by their names, as a configuration file and `--option` have them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{AppOptions, ByteSize, Policy};

/// Why a setting cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is none of that name.
    #[error("unknown key `{key}`{}", hint(.nearest.as_ref()))]
    Unknown {
        /// The name.
        key: String,
        /// The one that was meant, perhaps.
        nearest: Option<String>,
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

fn hint(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |nearest| {
        format!("; did you mean `{nearest}`?")
    })
}

impl OptionError {
    /// That a key is none of those.
    #[must_use]
    pub fn unknown(key: &str, known: &[&str]) -> Self {
        let close = |name: &&&str| strsim::jaro_winkler(key, name) > 0.8;
        let score = |name: &&&str| (strsim::jaro_winkler(key, name) * 1e6) as u64;
        Self::Unknown {
            key: key.to_owned(),
            nearest: known
                .iter()
                .filter(close)
                .max_by_key(score)
                .map(|name| (*name).to_owned()),
        }
    }

    /// That a key's value is not what it must be.
    #[must_use]
    pub fn wrong(key: &str, found: &Value, expected: impl Into<String>) -> Self {
        Self::Wrong {
            key: key.to_owned(),
            found: format!("`{found}`"),
            expected: expected.into(),
        }
    }
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
            "poll" => self.poll = duration(key, value)?,
            "track" => self.track = globs(key, value, dir)?,
            "drain" => self.drain = duration(key, value)?,
            "setup-timeout" => self.setup_timeout = duration(key, value)?,
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
            "probe-timeout" => self.probe_timeout = duration(key, value)?,
            "guard" => self.guard = duration(key, value)?,
            "wait-timeout" => self.wait_timeout = duration(key, value)?,
            "max-waiting" => self.max_waiting = number(key, value)?,
            "max-requests" => self.max_requests = number(key, value)?,
            "max-age" => self.max_age = duration(key, value)?,
            "memory-limit" => self.memory_limit = size(key, value)?,
            "max-quarantined" => self.max_quarantined = number(key, value)?,
            "allow-panic-abort" => self.allow_panic_abort = truth(key, value)?,
            "state-limit" => self.state_limit = size(key, value)?,
            "group" if value.as_str() == Some("") => {}
            "group" => return Err(wrong("\"\": this version has no process groups")),
            _ => return Err(OptionError::unknown(key, KEYS)),
        }
        Ok(())
    }
}

fn truth(key: &str, value: &Value) -> Result<bool, OptionError> {
    value
        .as_bool()
        .ok_or_else(|| OptionError::wrong(key, value, "true or false"))
}

fn number<T: TryFrom<u64>>(key: &str, value: &Value) -> Result<T, OptionError> {
    let number = value.as_u64().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| OptionError::wrong(key, value, "a whole number from 0"))
}

fn duration(key: &str, value: &Value) -> Result<Duration, OptionError> {
    let wrong = || {
        OptionError::wrong(
            key,
            value,
            "a time with its unit, as in \"250ms\" or \"10s\"",
        )
    };
    match value {
        Value::Number(zero) if zero.as_u64() == Some(0) => Ok(Duration::ZERO),
        Value::String(text) => humantime::parse_duration(text).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

fn size(key: &str, value: &Value) -> Result<u64, OptionError> {
    let wrong = || OptionError::wrong(key, value, "a size, as in \"256M\"");
    match value {
        Value::Number(bytes) => bytes.as_u64().ok_or_else(wrong),
        Value::String(text) => text.parse::<ByteSize>().map(|it| it.0).map_err(|_| wrong()),
        _ => Err(wrong()),
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
            // A directory's own name may have what is special in a glob.
            let absolute: PathBuf = if Path::new(glob).is_absolute() {
                PathBuf::from(glob)
            } else {
                Path::new(&globset::escape(&dir.to_string_lossy())).join(glob)
            };
            let absolute = absolute.to_string_lossy().into_owned();
            match globset::Glob::new(&absolute) {
                Ok(_) => Ok(absolute),
                Err(error) => Err(OptionError::wrong(key, value, format!("globs: {error}"))),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(key: &str, value: &Value) -> Result<AppOptions, OptionError> {
        let mut options = AppOptions::default();
        options.set(key, value, Path::new("/srv"))?;
        Ok(options)
    }

    #[test]
    fn every_key_can_be_set() {
        for key in KEYS {
            let values = [
                json!("manual"),
                json!(true),
                json!("3s"),
                json!(7),
                json!("5M"),
                json!(["a/**"]),
                json!("/x"),
                json!(""),
            ];
            let set = values.iter().any(|value| set(key, value).is_ok());
            assert!(set, "{key}");
        }
        assert_eq!(
            set("drain", &json!("250ms")).unwrap().drain.as_millis(),
            250
        );
        assert_eq!(set("guard", &json!(0)).unwrap().guard, Duration::ZERO);
        assert_eq!(
            set("state-limit", &json!("1M")).unwrap().state_limit,
            1 << 20
        );
        assert_eq!(
            set("track", &json!("t/*.html")).unwrap().track,
            ["/srv/t/*.html"]
        );
        assert_eq!(set("probe", &json!("")).unwrap().probe, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_right() {
        let check = |key: &str, value: Value, text: &str| {
            assert_eq!(set(key, &value).unwrap_err().to_string(), text);
        };
        check(
            "drian",
            json!(1),
            "unknown key `drian`; did you mean `drain`?",
        );
        check("colour", json!(1), "unknown key `colour`");
        check(
            "drain",
            json!(30),
            "`drain` is `30`; it must be a time with its unit, as in \"250ms\" or \"10s\"",
        );
        check(
            "reload",
            json!("lazy"),
            "`reload` is `\"lazy\"`; it must be \"eager\", \"on-request\" or \"manual\"",
        );
        check(
            "preload",
            json!("yes"),
            "`preload` is `\"yes\"`; it must be true or false",
        );
        check(
            "max-requests",
            json!(-1),
            "`max-requests` is `-1`; it must be a whole number from 0",
        );
        check(
            "probe",
            json!("x"),
            "`probe` is `\"x\"`; it must be a path that begins with `/`, or \"\"",
        );
        check(
            "memory-limit",
            json!("lots"),
            "`memory-limit` is `\"lots\"`; it must be a size, as in \"256M\"",
        );
        let error = set("track", &json!(["a[b"])).unwrap_err().to_string();
        assert!(error.contains("unclosed character class"), "{error}");
        let error = set("group", &json!("blue")).unwrap_err().to_string();
        assert!(error.contains("no process groups"), "{error}");
    }
}
