//! The forwarder for `tracing` events, with the spans they stand in.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::LevelFilter,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

use super::{Level, send};

pub(super) fn install(max_level: u32) {
    let filter = match max_level {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // A plugin whose constructor has set its own subscriber wants it that way.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(Forward).with(filter));
}

struct Forward;

/// A span's fields, as text.
struct SpanFields(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Forward {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(SpanFields(fields.into_text()));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(SpanFields(text)) = span.extensions_mut().get_mut() {
            let more = fields.into_text();
            let space = if text.is_empty() || more.is_empty() {
                ""
            } else {
                " "
            };
            let _ = write!(text, "{space}{more}");
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let level = match *meta.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        };
        send(&super::Record {
            level,
            target: meta.target(),
            file: meta.file().unwrap_or(""),
            line: meta.line().unwrap_or(0),
            message: &fields.message,
            spans: &spans(event, &cx),
            fields: &fields.others,
            ..super::Record::EMPTY
        });
    }
}

/// `outer{key=value}:inner`
fn spans<S: Subscriber + for<'a> LookupSpan<'a>>(event: &Event<'_>, cx: &Context<'_, S>) -> String {
    let mut text = String::new();
    for span in cx
        .event_scope(event)
        .into_iter()
        .flat_map(|scope| scope.from_root())
    {
        if !text.is_empty() {
            text.push(':');
        }
        text.push_str(span.name());
        if let Some(SpanFields(fields)) = span.extensions().get()
            && !fields.is_empty()
        {
            let _ = write!(text, "{{{fields}}}");
        }
    }
    text
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, String)>,
}

impl Fields {
    fn into_text(self) -> String {
        let all: Vec<String> = self
            .others
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        all.join(" ")
    }

    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.others.push((field.name().to_owned(), value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn spans_are_named_outermost_first_with_their_fields() {
        struct Capture(Arc<Mutex<String>>);
        impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
            fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
                *self.0.lock().unwrap() = spans(event, &cx);
            }
        }
        let seen = Arc::new(Mutex::new(String::new()));
        let subscriber = Registry::default()
            .with(Forward)
            .with(Capture(Arc::clone(&seen)));
        tracing::subscriber::with_default(subscriber, || {
            let outer = tracing::info_span!("outer", id = 7, late = tracing::field::Empty);
            let _outer = outer.enter();
            outer.record("late", "yes");
            let _inner = tracing::info_span!("inner").entered();
            tracing::info!("hello");
        });
        assert_eq!(*seen.lock().unwrap(), "outer{id=7 late=yes}:inner");
    }
}
