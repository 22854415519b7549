//! The options of groups by their names, as a configuration file and `--group-option` have them.

use std::path::Path;

use serde_json::Value;

use super::GroupOptions;
use crate::{
    config::{
        CgroupPlace, ListenAddress, OptionError, Scheduling, SystemGroup, SystemUser,
        option::read::{duration, number, size, some, text, truth, whole},
    },
    id::ArtifactPath,
};

/// All options of a group.
pub const GROUP_KEYS: &[&str] = &[
    "listen",
    "processes",
    "threads",
    "max-requests",
    "restart-interval",
    "inactivity-timeout",
    "request-timeout",
    "startup-timeout",
    "graceful-timeout",
    "shutdown-timeout",
    "queue-timeout",
    "connect-timeout",
    "backlog",
    "queue",
    "hang-timeout",
    "memory-limit",
    "cpu-time-limit",
    "cgroup",
    "user",
    "group",
    "supplementary-groups",
    "umask",
    "home",
    "display-name",
    "environment",
    "no-new-privs",
    "nice",
    "scheduling",
];

impl GroupOptions {
    /// Sets one of [`GROUP_KEYS`]. A relative `home` begins in `dir`. Users and groups are looked
    /// for in the system.
    ///
    /// # Errors
    /// When there is none of that name, or the value is not one for it.
    pub fn set(&mut self, key: &str, value: &Value, dir: &Path) -> Result<(), OptionError> {
        match key {
            "listen" => self.listen = ListenAddress::list(key, value, dir)?,
            "processes" => self.processes = some(key, value)?,
            "threads" => self.threads = Some(some(key, value)?),
            "max-requests" => self.max_requests = number(key, value)?,
            "restart-interval" => self.restart_interval = duration(key, value)?,
            "inactivity-timeout" => self.inactivity_timeout = duration(key, value)?,
            "request-timeout" => self.request_timeout = duration(key, value)?,
            "startup-timeout" => self.startup_timeout = duration(key, value)?,
            "graceful-timeout" => self.graceful_timeout = duration(key, value)?,
            "shutdown-timeout" => self.shutdown_timeout = duration(key, value)?,
            "queue-timeout" => self.queue_timeout = duration(key, value)?,
            "connect-timeout" => self.connect_timeout = duration(key, value)?,
            "backlog" => self.backlog = whole(key, value, &(0..=i64::from(i32::MAX)))?,
            "queue" => self.queue = number(key, value)?,
            "hang-timeout" => self.hang_timeout = duration(key, value)?,
            "memory-limit" => self.memory_limit = size(key, value)?,
            "cpu-time-limit" => self.cpu_time_limit = duration(key, value)?,
            "cgroup" => self.cgroup = CgroupPlace::read(key, value)?,
            "user" => self.user = user(key, value)?,
            "group" => self.group = system_group(key, value)?,
            "supplementary-groups" => self.supplementary_groups = Some(groups(key, value)?),
            "umask" => self.umask = umask(key, value)?,
            "home" => {
                let wrong = || OptionError::wrong(key, value, "a directory's path");
                self.home = match text(key, value, "a directory's path")? {
                    Some(path) => {
                        let path = ArtifactPath::new(dir.join(path)).map_err(|_| wrong())?;
                        Some(path.as_path().to_owned())
                    }
                    None => None,
                }
            }
            "display-name" => {
                let expected = "text of one line";
                let name = text(key, value, expected)?;
                if name.is_some_and(|name| name.contains(char::is_control)) {
                    return Err(OptionError::wrong(key, value, expected));
                }
                self.display_name = name.map(str::to_owned);
            }
            "environment" => {
                let wrong = || OptionError::wrong(key, value, "a table of texts");
                let table = value.as_object().ok_or_else(wrong)?;
                self.environment.clear();
                for (name, value) in table {
                    self.set_variable(name, value)?;
                }
            }
            "no-new-privs" => self.no_new_privs = truth(key, value)?,
            "nice" => self.nice = whole(key, value, &(-20..=19))?,
            "scheduling" => self.scheduling = Scheduling::read(key, value)?,
            _ => return Err(OptionError::unknown(key, GROUP_KEYS)),
        }
        Ok(())
    }

    /// Sets a variable of `environment`.
    ///
    /// # Errors
    /// When no variable can have that name or that value.
    pub fn set_variable(&mut self, name: &str, value: &Value) -> Result<(), OptionError> {
        let key = format!("environment.{name}");
        if name.is_empty() || name.contains(['=', '\0']) {
            let named = Value::from(name);
            let expected = "named by text that is not empty, without `=` and NUL";
            return Err(OptionError::wrong("environment", &named, expected));
        }
        let wrong = || OptionError::wrong(&key, value, "text, without NUL");
        let text = value.as_str().filter(|text| !text.contains('\0'));
        let text = text.ok_or_else(wrong)?.to_owned();
        self.environment.insert(name.to_owned(), text);
        Ok(())
    }
}

/// A name; on the command line a number is one, too.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_u64().map(|number| number.to_string()),
        _ => None,
    }
}

fn user(key: &str, value: &Value) -> Result<Option<SystemUser>, OptionError> {
    let wrong =
        |more: &str| OptionError::wrong(key, value, format!("a user's name or number{more}"));
    let name = said(value).ok_or_else(|| wrong(""))?;
    if name.is_empty() {
        return Ok(None);
    }
    let found = SystemUser::find(&name).map_err(|error| wrong(&format!(": {error}")))?;
    Ok(Some(found))
}

fn system_group(key: &str, value: &Value) -> Result<Option<SystemGroup>, OptionError> {
    let wrong = |more: &str| {
        OptionError::wrong(
            key,
            value,
            format!("the name or number of a group of users{more}"),
        )
    };
    let name = said(value).ok_or_else(|| wrong(""))?;
    if name.is_empty() {
        return Ok(None);
    }
    let found = SystemGroup::find(&name).map_err(|error| wrong(&format!(": {error}")))?;
    Ok(Some(found))
}

fn groups(key: &str, value: &Value) -> Result<Vec<SystemGroup>, OptionError> {
    let wrong = || OptionError::wrong(key, value, "a list of groups of users, as in [\"video\"]");
    let list = value.as_array().ok_or_else(wrong)?;
    list.iter()
        .map(|one| system_group(key, one)?.ok_or_else(wrong))
        .collect()
}

/// Octal, as text: what is a number in TOML is not octal unless it says so.
fn umask(key: &str, value: &Value) -> Result<Option<u32>, OptionError> {
    let expected = "octal digits as text, as in \"0027\"";
    let Some(digits) = text(key, value, expected)? else {
        return Ok(None);
    };
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    let mask = u32::from_str_radix(digits, 8).ok();
    let mask = mask.filter(|mask| plain && *mask <= 0o777);
    let mask = mask.ok_or_else(|| OptionError::wrong(key, value, expected))?;
    Ok(Some(mask))
}
