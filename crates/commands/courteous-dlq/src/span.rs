use std::{fmt, str::FromStr, time::Duration};

/// A length of time as people write it: `500ms`, `30s`, `15m`, `12h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// The error for a text that is not a length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidSpan;

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| InvalidSpan)?;
        let seconds = match unit {
            "ms" => return Ok(Self(Duration::from_millis(number))),
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return Err(InvalidSpan),
        };
        let seconds = number.checked_mul(seconds).ok_or(InvalidSpan)?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

/// In the largest unit that leaves at most one smaller unit: `2d 3h`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds}s"),
            (0, 0, minutes) => write!(f, "{minutes}m {}s", seconds % 60),
            (0, hours, _) => write!(f, "{hours}h {}m", minutes % 60),
            (days, ..) => write!(f, "{days}d {}h", hours % 24),
        }
    }
}

impl fmt::Display for InvalidSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it must read like `90s`, with `ms`, `s`, `m`, `h` or `d`")
    }
}

impl std::error::Error for InvalidSpan {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_whole_number_and_a_unit() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("15m", 900_000),
            ("12h", 43_200_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))));
        }
        let max = u64::MAX;
        for wrong in [
            "",
            "1",
            "s",
            "1.5h",
            "-1s",
            "1 s",
            "1w",
            &format!("{max}d"),
            &format!("{max}0s"),
        ] {
            assert_eq!(wrong.parse::<Span>(), Err(InvalidSpan), "{wrong}");
        }
    }

    #[test]
    fn a_span_is_shown_in_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m 1s"),
            (3_600, "1h 0m"),
            (86_399, "23h 59m"),
            (2 * 86_400 + 3 * 3_600, "2d 3h"),
        ] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}
