//! One log for the host and its plugins.
//!
//! Host events come through `tracing`, plugin records through the ABI; both become a [`Record`]
//! and are written by one [`Format`]: lines for people, or JSON lines for machines.

use std::{
    fs::File,
    io::Write,
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

mod file;
mod layer;
mod record;
mod text;

pub use file::{LogFileError, is_to_file, log_to, reopen, write_lines};
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

/// Where a worker's log goes, and what each of its lines says of the worker.
#[derive(Debug)]
struct Outpost {
    log: Mutex<File>,
    is: OnceLock<[(&'static str, Value); 3]>,
}

static OUTPOST: OnceLock<Outpost> = OnceLock::new();

/// Starts the log of a worker, which goes to its supervisor's. What the host part of it does as a
/// matter of course is the supervisor's to tell; here it is a detail.
pub fn install_in_worker(options: Options, log: File) {
    let outpost = Outpost {
        log: Mutex::new(log),
        is: OnceLock::new(),
    };
    if OUTPOST.set(outpost).is_ok() {
        install(options);
    }
}

/// Says which worker this is. The first call counts.
pub fn name_worker(group: &str, number: u32) {
    if let Some(outpost) = OUTPOST.get() {
        let _ = outpost.is.set([
            ("group", group.into()),
            ("worker", number.into()),
            ("pid", std::process::id().into()),
        ]);
    }
}

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
    let own = match OUTPOST.get() {
        Some(_) if options.level == Level::Info => LevelFilter::WARN,
        _ => level,
    };
    let targets = Targets::new()
        .with_default(others)
        .with_target("replug", own);
    // An embedding program that has a subscriber of its own keeps it.
    let _ = Registry::default()
        .with(layer::HostEvents)
        .with(targets)
        .try_init();
}

/// How the log is written; `None`: there is none yet.
#[must_use]
pub fn options() -> Option<Options> {
    OPTIONS.get().copied()
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
    let outpost = OUTPOST.get();
    let named = outpost.and_then(|outpost| outpost.is.get()).map(|is| {
        let mut record = record.clone();
        for (key, value) in is {
            record.fields.insert((*key).to_owned(), value.clone());
        }
        record
    });
    let record = named.as_ref().unwrap_or(record);
    let mut line = match options.format {
        Format::Text => text::line(record, options.colour && !is_to_file()),
        Format::Json => record.to_json(),
    };
    line.push('\n');
    // One write a line, so that lines of several threads do not mix. A log that cannot be written
    // must not stop the host.
    let Some(Outpost { log, .. }) = outpost else {
        return write_lines(line.as_bytes());
    };
    // A pipe takes a long line in pieces.
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = log.write_all(line.as_bytes());
}
