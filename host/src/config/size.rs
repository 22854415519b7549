//! Sizes as people write them: `512K`, `256M`, `2G`.

use std::{fmt, str::FromStr};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size; write bytes, or a number with K, M, G or T (of 1,024), as in 256M")]
pub struct ByteSizeError(String);

const UNITS: [char; 4] = ['K', 'M', 'G', 'T'];

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let wrong = || ByteSizeError(text.to_owned());
        let upper = text.trim().to_ascii_uppercase();
        // 256M, 256MB and 256MiB are the same here: memory is counted in powers of two.
        let short = upper.strip_suffix("IB").or(upper.strip_suffix('B'));
        let short = short.unwrap_or(&upper);
        let unit = UNITS.iter().position(|unit| short.ends_with(*unit));
        let (digits, shift) = match unit {
            Some(at) => (&short[..short.len() - 1], 10 * (at as u32 + 1)),
            None => (short, 0),
        };
        let number: u64 = digits.trim_end().parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shift = (1..=UNITS.len()).rev().find(|at| self.0 >> (10 * at) > 0);
        let Some(at) = shift else {
            return write!(f, "{} B", self.0);
        };
        #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
        let number = self.0 as f64 / (1_u64 << (10 * at)) as f64;
        write!(f, "{number:.1} {}iB", UNITS[at - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        let check = |text: &str, bytes| assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        check("0", 0);
        check("1500", 1_500);
        check("4k", 4 << 10);
        check("256M", 256 << 20);
        check("256 MiB", 256 << 20);
        check("2GB", 2 << 30);
        for bad in ["", "M", "1.5G", "-1", "10X", "99999999T"] {
            let error = bad.parse::<ByteSize>().unwrap_err();
            assert!(error.to_string().contains("256M"), "{error}");
        }
    }

    #[test]
    fn sizes_are_shown_with_one_decimal() {
        let check = |bytes, text: &str| assert_eq!(ByteSize(bytes).to_string(), text);
        check(0, "0 B");
        check(1_023, "1023 B");
        check(1_536, "1.5 KiB");
        check(5 << 30, "5.0 GiB");
    }
}
