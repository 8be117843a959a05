//! `Retry-After`, and the fields that are its kin by their names.
//!
//! No provider is asked for: a field is of this kind if its name ends with `retry-after`, and maybe a unit.
//!
//! ```text
//! retry-after                          X-RateLimit-Retry-After      X-Rate-Limit-Retry-After-Seconds
//! retry-after-ms, x-ms-retry-after-ms  X-Retry-After                X-Rate-Limit-Retry-After-Milliseconds
//! ```

use std::{cmp::Reverse, ops::Deref, time::Duration};

use http::HeaderMap;

use crate::{
    http_date,
    moment::Moment,
    number::{Number, Unit, text},
    reset,
};

/// The kinds of fields, the most exact first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Milliseconds,
    Standard,
    Renamed,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        const WORD: &str = "retry-after";
        if name == WORD {
            return Some(Self::Standard);
        }
        let in_ms = ["-ms", "-milliseconds"];
        let in_ms = in_ms.iter().find_map(|unit| name.strip_suffix(unit));
        let stem = in_ms.unwrap_or_else(|| name.strip_suffix("-seconds").unwrap_or(name));
        let before = stem.strip_suffix(WORD)?;
        if !(before.is_empty() || before.ends_with('-')) {
            return None;
        }
        // Amazon's is the one whose name does not tell its unit.
        let is_in_ms = in_ms.is_some() || name == "x-amz-retry-after";
        Some(match is_in_ms {
            true => Self::Milliseconds,
            false => Self::Renamed,
        })
    }

    fn read(
        self,
        value: &str,
        now: &impl Deref<Target = Moment>,
        received: impl FnOnce() -> Moment,
    ) -> Option<Duration> {
        let number = Number::parse(value);
        match (self, number) {
            (Self::Milliseconds, number) => Some(reset::delay(number?, Unit::Milliseconds, now)),
            (_, Some(number)) => Some(reset::delay(number, Unit::Seconds, now)),
            (_, None) => Some(http_date::parse(value, received)?.since(**now)),
        }
    }
}

/// The longest wait that the most exact of the fields states.
pub(crate) fn wait(
    headers: &HeaderMap,
    now: &impl Deref<Target = Moment>,
    received: impl Fn() -> Moment,
) -> Option<Duration> {
    let mut foremost = None;
    for (name, value) in headers {
        let Some(kind) = Kind::of(name.as_str()) else {
            continue;
        };
        let wait = text(value).and_then(|value| kind.read(value, now, &received));
        foremost = foremost.max(wait.map(|wait| (Reverse(kind), wait)));
    }
    foremost.map(|(_, wait)| wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_one_of_the_kind_by_the_end_of_its_name() {
        for (name, kind) in [
            ("retry-after", Some(Kind::Standard)),
            ("retry-after-ms", Some(Kind::Milliseconds)),
            ("x-ms-retry-after-ms", Some(Kind::Milliseconds)),
            ("x-amz-retry-after", Some(Kind::Milliseconds)),
            (
                "x-rate-limit-retry-after-milliseconds",
                Some(Kind::Milliseconds),
            ),
            ("x-retry-after", Some(Kind::Renamed)),
            ("x-ratelimit-retry-after", Some(Kind::Renamed)),
            ("ratelimit-retry-after", Some(Kind::Renamed)),
            ("x-rate-limit-retry-after-seconds", Some(Kind::Renamed)),
            ("retry-after-seconds", Some(Kind::Renamed)),
            ("x-noretry-after", None),
            ("retry-after-jitter", None),
            ("x-retry-after-policy", None),
            ("retry", None),
            ("after", None),
            ("-ms", None),
            ("", None),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
    }
}
