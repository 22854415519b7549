//! Log records, tracing events and stray panics of a plugin, on their way to the host's log.
//!
//! The plugin has its own copy of `log`, `tracing` and the standard library, so each needs a
//! forwarder of ours. Only bytes cross: a shared subscriber would keep references to call sites
//! of a library that is gone.

#![expect(unsafe_code, reason = "ABI glue: calls the host's log function")]

use std::{cell::Cell, sync::OnceLock};

use log::LevelFilter;

use crate::{
    abi,
    glue::guard::{self, Caught},
};

mod events;
mod records;

/// Where this library's records go.
static SINK: OnceLock<Sink> = OnceLock::new();

#[derive(Clone, Copy)]
struct Sink {
    log: unsafe extern "C" fn(u64, *const abi::LogRecord),
    context: u64,
}

thread_local! {
    static REQUEST: Cell<u64> = const { Cell::new(0) };
}

/// Forwards from now on; the first call counts, since a library is set up once.
pub(crate) fn install(
    log: unsafe extern "C" fn(u64, *const abi::LogRecord),
    context: u64,
    max_level: u32,
) {
    if SINK.set(Sink { log, context }).is_err() {
        return;
    }
    guard::install_hook(|caught| report_panic("panicked", caught));
    events::install(max_level);
    records::install(match max_level {
        0 => LevelFilter::Off,
        1 => LevelFilter::Error,
        2 => LevelFilter::Warn,
        3 => LevelFilter::Info,
        4 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
}

/// Sends a panic of which no status tells. `what` panicked.
pub(crate) fn report_panic(what: &str, caught: &Caught) {
    let fields = [("location".to_owned(), caught.location.clone())];
    send(&Record {
        level: Level::Error,
        target: "panic",
        message: &format!("{what}: {}", caught.message),
        fields: &fields,
        frames: &caught.frames,
        ..Record::EMPTY
    });
}

/// Runs `f` with its records marked as this request's.
pub(crate) fn with_request<R>(id: u64, f: impl FnOnce() -> R) -> R {
    struct Restore(u64);
    impl Drop for Restore {
        fn drop(&mut self) {
            let _ = REQUEST.try_with(|slot| slot.set(self.0));
        }
    }
    let _restore = Restore(REQUEST.try_with(|slot| slot.replace(id)).unwrap_or(0));
    f()
}

/// As the ABI numbers them.
#[derive(Clone, Copy)]
enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
    Trace = 5,
}

/// What is sent.
struct Record<'a> {
    level: Level,
    target: &'a str,
    file: &'a str,
    line: u32,
    message: &'a str,
    spans: &'a str,
    fields: &'a [(String, String)],
    frames: &'a [usize],
}

impl Record<'_> {
    const EMPTY: Self = Self {
        level: Level::Error,
        target: "",
        file: "",
        line: 0,
        message: "",
        spans: "",
        fields: &[],
        frames: &[],
    };
}

fn send(record: &Record<'_>) {
    let Some(sink) = SINK.get() else { return };
    let lend = |text: &str| abi::Slice::lend(text.as_bytes());
    let fields: Vec<abi::Field> = record
        .fields
        .iter()
        .map(|(key, value)| abi::Field {
            key: lend(key),
            value: lend(value),
        })
        .collect();
    let record = abi::LogRecord {
        size: size_of::<abi::LogRecord>(),
        level: record.level as u32,
        line: record.line,
        target: lend(record.target),
        message: lend(record.message),
        file: lend(record.file),
        spans: lend(record.spans),
        fields: fields.as_ptr(),
        field_count: fields.len(),
        request_id: REQUEST.try_with(Cell::get).unwrap_or(0),
        frames: record.frames.as_ptr(),
        frame_count: record.frames.len(),
    };
    // SAFETY: the host's function, with a record that lives through the call.
    unsafe { (sink.log)(sink.context, &raw const record) }
}
