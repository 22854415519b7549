//! One log for the host and its plugins.
//!
//! Host events come through `tracing`, plugin records through the ABI; both become a [`Record`]
//! and are written by one [`Format`]: lines for people, or JSON lines for machines.

use std::{
    io::{self, Write},
    sync::OnceLock,
};

use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

mod layer;
mod record;
mod text;

pub use record::{Level, Record, Value};

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// What the log is to be.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The lines' format.
    pub format: Format,
    /// The most detailed level, of the host's events and the plugins'.
    pub level: Level,
    /// Whether lines for people may be coloured.
    pub colour: bool,
}

static OPTIONS: OnceLock<Options> = OnceLock::new();

/// Starts the log on standard error. The first call counts.
pub fn install(options: Options) {
    if OPTIONS.set(options).is_err() {
        return;
    }
    let level = match options.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // Libraries' own chatter is of use only to those who ask for everything.
    let others = if options.level == Level::Trace {
        level
    } else {
        LevelFilter::WARN.min(level)
    };
    let targets = Targets::new()
        .with_default(others)
        .with_target("replug", level);
    // An embedding program that has a subscriber of its own keeps it.
    let _ = Registry::default()
        .with(layer::HostEvents)
        .with(targets)
        .try_init();
}

/// The most detailed level that is written.
#[must_use]
pub fn max_level() -> Level {
    OPTIONS.get().map_or(Level::Info, |options| options.level)
}

/// Writes a record.
pub fn write(record: &Record) {
    let options = OPTIONS.get().copied().unwrap_or(Options {
        format: Format::Text,
        level: Level::Info,
        colour: false,
    });
    if record.level > options.level {
        return;
    }
    let mut line = match options.format {
        Format::Text => text::line(record, options.colour),
        Format::Json => record.to_json(),
    };
    line.push('\n');
    // One write a line, so that lines of several threads do not mix. A log that cannot be written
    // must not stop the host.
    let _ = io::stderr().write_all(line.as_bytes());
}
