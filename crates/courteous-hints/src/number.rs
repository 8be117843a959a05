use std::time::Duration;

use http::HeaderValue;

/// The text of a field's value, without the blanks around it.
pub(crate) fn text(value: &HeaderValue) -> Option<&str> {
    let text = str::from_utf8(value.as_bytes()).ok()?;
    Some(text.trim_matches([' ', '\t']))
}

/// A number as fields spell it: `digits[.digits]`, without sign, exponent, infinity or blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number {
    billionths: u128,
    whole: bool,
}

/// The units that fields count time in, by how many of them make a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds = 1,
    Milliseconds = 1_000,
    Microseconds = 1_000_000,
    Nanoseconds = 1_000_000_000,
}

impl Number {
    /// `None` for anything else. What is too big for a `u64` is the greatest of them: it means "very long", not nothing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        if !is_digits(whole) || !fraction.is_none_or(is_digits) {
            return None;
        }
        let seconds = whole.parse().unwrap_or(u64::MAX);
        let digits = fraction.unwrap_or_default().bytes();
        let billionths = digits
            .chain(std::iter::repeat(b'0'))
            .take(9)
            .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        Some(Self {
            billionths: u128::from(seconds) * 1_000_000_000 + billionths,
            whole: fraction.is_none(),
        })
    }

    /// The number without its fraction.
    pub(crate) fn floor(self) -> u64 {
        (self.billionths / 1_000_000_000) as u64
    }

    /// Whether it was written without a fraction.
    pub(crate) const fn is_whole(self) -> bool {
        self.whole
    }

    /// So many nanoseconds are this many of `unit`, rounded up: a wait is never shorter than what was asked for.
    pub(crate) const fn nanos(self, unit: Unit) -> u128 {
        self.billionths.div_ceil(unit as u128)
    }

    pub(crate) fn duration(self, unit: Unit) -> Duration {
        duration(self.nanos(unit))
    }
}

/// `nanos` as a duration, or the longest one if that is more.
pub(crate) fn duration(nanos: u128) -> Duration {
    match u64::try_from(nanos / 1_000_000_000) {
        Ok(seconds) => Duration::new(seconds, (nanos % 1_000_000_000) as u32),
        Err(_) => Duration::MAX,
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
