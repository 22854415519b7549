//! A record as a line for people.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::{Level, Record, Value, record::Timestamp};

/// `12:03:11.123  INFO hello.2 now serving at /  digest=0a1b2c`
pub(super) fn line(record: &Record, colour: bool) -> String {
    let paint = |style: Style| if colour { style } else { Style::new() };
    let (dim, level) = (
        paint(Style::new().dimmed()),
        paint(level_style(record.level)),
    );
    let time = Timestamp(record.time).to_string();
    // The date is the reader's own; a log that is kept is better kept as JSON.
    let time = time.get(11..23).unwrap_or(&time);
    let mut out = format!(
        "{dim}{time}{dim:#} {level}{:>5}{level:#} ",
        record.level.as_str()
    );
    if let Some((app, generation)) = &record.app {
        let name = paint(Style::new().bold());
        let generation = generation
            .map(|number| format!(".{number}"))
            .unwrap_or_default();
        let _ = write!(out, "{name}{app}{generation}{name:#} ");
    }
    out.push_str(&record.message);
    if let Some(request) = record.request {
        let _ = write!(out, "  {dim}request={request}{dim:#}");
    }
    for (key, value) in fields(record) {
        let _ = write!(out, "  {dim}{key}={value}{dim:#}");
    }
    for block in ["reason", "remedy", "backtrace"] {
        if let Some(Value::String(text)) = record.fields.get(block) {
            let text = text.replace('\n', "\n           ");
            let _ = write!(out, "\n    {dim}{block}:{dim:#} {text}");
        }
    }
    out
}

fn level_style(level: Level) -> Style {
    match level {
        Level::Error => AnsiColor::Red.on_default().bold(),
        Level::Warn => AnsiColor::Yellow.on_default(),
        Level::Info => AnsiColor::Green.on_default(),
        Level::Debug => AnsiColor::Blue.on_default(),
        Level::Trace => Style::new().dimmed(),
    }
}

/// What is not in the message already: the event's name is for machines, reason and remedy have
/// lines of their own.
fn fields(record: &Record) -> Vec<(&str, String)> {
    let mut all = Vec::new();
    for (key, value) in &record.fields {
        match (key.as_str(), value) {
            ("event" | "reason" | "remedy" | "backtrace" | "file" | "line", _) => {}
            ("fields", Value::Object(inner)) => {
                all.extend(
                    inner
                        .iter()
                        .map(|(key, value)| (key.as_str(), plain(value))),
                );
            }
            // Enough to tell two builds apart.
            ("digest", Value::String(hex)) => all.push(("digest", hex.chars().take(12).collect())),
            (key, value) => {
                let value = plain(value);
                // What the message says already is not said twice.
                if !record.message.contains(&value) {
                    all.push((key, value));
                }
            }
        }
    }
    all
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_names_reason_and_remedy_on_lines_of_their_own() {
        let mut record = Record::new(Level::Error, "replug::reload");
        record.time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        record.message = "refused /srv/libx.so".to_owned();
        record.app = Some(("x".to_owned(), Some(2)));
        record.fields.insert("event".into(), json!("refused"));
        record
            .fields
            .insert("reason".into(), json!("not a library"));
        record
            .fields
            .insert("remedy".into(), json!("build it as a cdylib"));
        record.fields.insert("size".into(), json!(7));
        assert_eq!(
            line(&record, false),
            "00:00:01.500 ERROR x.2 refused /srv/libx.so  size=7\n    \
             reason: not a library\n    remedy: build it as a cdylib",
        );
    }
}
