//! The forwarder for the `log` crate.

use log::{LevelFilter, Log, Metadata, Record};

use super::{Level, send};

struct Forward;

pub(super) fn install(level: LevelFilter) {
    // A plugin that has set its own logger wants it that way.
    if log::set_logger(&Forward).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
            log::Level::Trace => Level::Trace,
        };
        send(&super::Record {
            level,
            target: record.target(),
            file: record.file().unwrap_or(""),
            line: record.line().unwrap_or(0),
            message: &record.args().to_string(),
            ..super::Record::EMPTY
        });
    }

    fn flush(&self) {}
}
