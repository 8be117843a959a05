use std::time::Duration;

use http::HeaderValue;

/// No field that is read here is near as long. What is longer is not worth its reading.
const LONGEST: usize = 1024;

/// The text of a field's value, without the blanks around it.
pub(crate) fn text(value: &HeaderValue) -> Option<&str> {
    if value.len() > LONGEST {
        return None;
    }
    let text = str::from_utf8(value.as_bytes()).ok()?;
    Some(text.trim_matches([' ', '\t']))
}

/// A number as fields spell it: `digits[.digits]`, without sign, exponent, infinity or blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    whole: u64,
    billionths: u32,
    has_fraction: bool,
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
    /// `None` for anything else. What is too big for a `u64` is the greatest of them: it means
    /// "very long", not nothing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        if !is_digits(whole) || !fraction.is_none_or(is_digits) {
            return None;
        }
        let digits = fraction.unwrap_or_default().bytes();
        let billionths = digits
            .chain(std::iter::repeat(b'0'))
            .take(9)
            .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        Some(Self {
            whole: whole.parse().unwrap_or(u64::MAX),
            billionths,
            has_fraction: fraction.is_some(),
        })
    }

    /// The number without its fraction.
    pub(crate) const fn floor(self) -> u64 {
        self.whole
    }

    /// Whether it was written without a fraction.
    pub(crate) const fn is_whole(self) -> bool {
        !self.has_fraction
    }

    /// So many nanoseconds are this many of `unit`, rounded up: a wait is never shorter than what
    /// was asked for.
    pub(crate) const fn nanos(self, unit: Unit) -> u128 {
        let billionths = self.whole as u128 * 1_000_000_000 + self.billionths as u128;
        billionths.div_ceil(unit as u128)
    }

    pub(crate) fn duration(self, unit: Unit) -> Duration {
        match unit {
            Unit::Seconds => Duration::new(self.whole, self.billionths),
            _ => duration(self.nanos(unit)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<Duration> {
        Number::parse(text).map(|number| number.duration(Unit::Seconds))
    }

    #[test]
    fn digits_with_or_without_a_fraction_are_a_number() {
        assert_eq!(seconds("0"), Some(Duration::ZERO));
        assert_eq!(seconds("007"), Some(Duration::from_secs(7)));
        assert_eq!(seconds("2.0"), Some(Duration::from_secs(2)));
        assert_eq!(seconds("64.57"), Some(Duration::from_millis(64_570)));
        assert_eq!(seconds("0.1"), Some(Duration::from_millis(100)));
        assert_eq!(
            seconds("1.0000000019"),
            Some(Duration::new(1, 1)),
            "there is nothing below a nanosecond"
        );
    }

    // All of these are numbers to `f64::from_str`, or to another parser.
    #[test]
    fn signs_exponents_and_words_are_no_number() {
        for text in [
            "", ".", "1.", ".5", "-1", "+5", "1e9", "inf", "nan", "NaN", "infinity", "0x10",
            "1_000", "1,5", "1.5.2", "1s", " 1", "1 ", "\u{b2}", "\u{661}",
        ] {
            assert_eq!(Number::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_number_beyond_all_bounds_is_very_long_and_not_wrapped() {
        let nines = "9".repeat(35);
        assert_eq!(seconds(&nines), Some(Duration::from_secs(u64::MAX)));
        let number = Number::parse(&nines).expect("a number");
        assert_eq!(number.floor(), u64::MAX);
        assert_eq!(
            seconds(&format!("{nines}.{nines}")),
            Some(Duration::new(u64::MAX, 999_999_999))
        );
    }

    #[test]
    fn smaller_units_round_up() {
        let number = Number::parse("1.5").expect("a number");
        assert_eq!(
            number.duration(Unit::Milliseconds),
            Duration::from_micros(1_500)
        );
        assert_eq!(number.duration(Unit::Nanoseconds), Duration::from_nanos(2));
    }
}
