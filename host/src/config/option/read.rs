//! Values of all kinds of options.

use std::{num::NonZeroUsize, ops::RangeInclusive, time::Duration};

use serde_json::Value;

use super::OptionError;
use crate::config::ByteSize;

/// What is beyond that is a slip, and would overflow the system's clock.
const LONGEST_TIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub(in crate::config) fn truth(key: &str, value: &Value) -> Result<bool, OptionError> {
    value
        .as_bool()
        .ok_or_else(|| OptionError::wrong(key, value, "true or false"))
}

pub(in crate::config) fn number<T: TryFrom<u64>>(
    key: &str,
    value: &Value,
) -> Result<T, OptionError> {
    let number = value.as_u64().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| OptionError::wrong(key, value, "a whole number from 0"))
}

pub(in crate::config) fn duration(key: &str, value: &Value) -> Result<Duration, OptionError> {
    let wrong = || {
        OptionError::wrong(
            key,
            value,
            "a time with its unit, as in \"250ms\" or \"10s\"",
        )
    };
    let time = match value {
        Value::Number(zero) if zero.as_u64() == Some(0) => Duration::ZERO,
        Value::String(text) => humantime::parse_duration(text).map_err(|_| wrong())?,
        _ => return Err(wrong()),
    };
    if time > LONGEST_TIME {
        return Err(OptionError::wrong(key, value, "ten years at most"));
    }
    Ok(time)
}

/// A time that something may take.
pub(in crate::config) fn limit(key: &str, value: &Value) -> Result<Duration, OptionError> {
    let time = duration(key, value)?;
    if time.is_zero() {
        let expected = "more than zero: nothing ends in no time";
        return Err(OptionError::wrong(key, value, expected));
    }
    Ok(time)
}

pub(in crate::config) fn size(key: &str, value: &Value) -> Result<u64, OptionError> {
    let wrong = || OptionError::wrong(key, value, "a size, as in \"256M\"");
    match value {
        Value::Number(bytes) => bytes.as_u64().ok_or_else(wrong),
        Value::String(text) => text.parse::<ByteSize>().map(|it| it.0).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// A whole number that something has a range for.
pub(in crate::config) fn whole<T: TryFrom<i64>>(
    key: &str,
    value: &Value,
    range: &RangeInclusive<i64>,
) -> Result<T, OptionError> {
    let number = value.as_i64().filter(|number| range.contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        OptionError::wrong(key, value, expected)
    })
}

/// How many there are of what there must be one at least of.
pub(in crate::config) fn some(key: &str, value: &Value) -> Result<NonZeroUsize, OptionError> {
    let number = value
        .as_u64()
        .and_then(|number| usize::try_from(number).ok());
    let number = number.and_then(NonZeroUsize::new);
    number.ok_or_else(|| OptionError::wrong(key, value, "a whole number from 1"))
}

/// Text that the system takes; `None`: it is empty, and nothing is said.
pub(in crate::config) fn text<'v>(
    key: &str,
    value: &'v Value,
    expected: &str,
) -> Result<Option<&'v str>, OptionError> {
    match value.as_str() {
        Some("") => Ok(None),
        Some(text) if !text.contains('\0') => Ok(Some(text)),
        _ => Err(OptionError::wrong(key, value, expected)),
    }
}
