//! TOML's values as JSON's, which options are read from and apps are handed.

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

/// A value as the command line has it: `1`, `true` and `[1, 2]` are TOML; `hi` is not, and is text.
#[must_use]
pub fn value_of(text: &str) -> Value {
    let parsed = DeValue::parse(text).ok();
    parsed.map_or_else(
        || Value::String(text.to_owned()),
        |value| to_json(value.get_ref()),
    )
}

/// Dates and times become text. A number that is out of JSON's range becomes text, too.
pub(super) fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.to_string()), Value::from),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or_else(|| Value::String(number.to_string()), Value::Number),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(list) => list.iter().map(|it| to_json(it.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(object(table)),
    }
}

fn object(table: &DeTable<'_>) -> Map<String, Value> {
    table
        .iter()
        .map(|(key, value)| (key.get_ref().clone().into_owned(), to_json(value.get_ref())))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_toml_is_its_value_and_the_rest_is_text() {
        let check = |text: &str, value: Value| assert_eq!(value_of(text), value, "{text}");
        check("3", json!(3));
        check("0x1f", json!(31));
        check("1_000", json!(1000));
        check("-2.5", json!(-2.5));
        check("true", json!(true));
        check("[1, \"a\"]", json!([1, "a"]));
        check("{ a = 1 }", json!({"a": 1}));
        check("\"3\"", json!("3"));
        check("2026-11-25T10:00:00Z", json!("2026-11-25T10:00:00Z"));
        check("inf", json!("inf"));
        check("99999999999999999999", json!("99999999999999999999"));
        for text in [
            "",
            "hi there",
            "/a=b",
            "10s",
            "1\nother = 2",
            "#fff",
            "\"open",
        ] {
            check(text, json!(text));
        }
    }
}
