//! What is written to the log.

use std::{fmt, time::SystemTime};

use serde_json::{Map, json};

/// How important a record is; less than means more important.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is wrong, and goes on.
    Warn = 2,
    /// What an operator wants to know.
    Info = 3,
    /// What explains the rest.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl Level {
    /// The name in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }

    /// As the plugin ABI numbers it.
    #[must_use]
    pub fn from_abi(level: u32) -> Self {
        match level {
            0 | 1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            4 => Self::Debug,
            _ => Self::Trace,
        }
    }
}

/// A field's value.
pub type Value = serde_json::Value;

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it was made.
    pub time: SystemTime,
    /// How important it is.
    pub level: Level,
    /// The module, or what a plugin calls its own.
    pub target: String,
    /// For people.
    pub message: String,
    /// The app's name and generation, for records of or about one.
    pub app: Option<(String, Option<u64>)>,
    /// The request being answered.
    pub request: Option<u64>,
    /// What else there is to know. A host event's fields; a plugin's stand under `fields`.
    pub fields: Map<String, Value>,
}

impl Record {
    /// A record of now.
    #[must_use]
    pub fn new(level: Level, target: &str) -> Self {
        Self {
            time: SystemTime::now(),
            level,
            target: target.to_owned(),
            message: String::new(),
            app: None,
            request: None,
            fields: Map::new(),
        }
    }

    pub(super) fn to_json(&self) -> String {
        let mut object = Map::new();
        object.insert("time".into(), json!(Timestamp(self.time).to_string()));
        object.insert("level".into(), json!(self.level.as_str()));
        object.insert("target".into(), json!(self.target));
        object.insert("message".into(), json!(self.message));
        if let Some((app, generation)) = &self.app {
            object.insert("app".into(), json!(app));
            if let Some(generation) = generation {
                object.insert("generation".into(), json!(generation));
            }
        }
        if let Some(request) = self.request {
            object.insert("request".into(), json!(request));
        }
        for (key, value) in &self.fields {
            object.entry(key).or_insert_with(|| value.clone());
        }
        Value::Object(object).to_string()
    }
}

/// RFC 3339, in UTC, with milliseconds.
pub(super) struct Timestamp(pub(super) SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(self.0).fmt(f)
    }
}
