//! The host's own `tracing` events as records.

use std::fmt;

use serde_json::json;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::{Level, Record, Value, write};

pub(super) struct HostEvents;

impl<S: Subscriber> Layer<S> for HostEvents {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        let level = match *meta.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        };
        let mut record = Record::new(level, meta.target());
        event.record(&mut Fields(&mut record));
        write(&record);
    }
}

struct Fields<'a>(&'a mut Record);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        let record = &mut *self.0;
        match (field.name(), value) {
            ("message", Value::String(text)) => record.message = text,
            ("app", Value::String(name)) => record.app.get_or_insert_default().0 = name,
            ("generation", Value::Number(number)) => {
                record.app.get_or_insert_default().1 = number.as_u64();
            }
            ("request", Value::Number(number)) => record.request = number.as_u64(),
            (name, value) => {
                record.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }
}
