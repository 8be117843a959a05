use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::{
    Timestamp,
    civil::{DateTime, date},
    tz::Offset,
};

use crate::number::duration;

/// A point of wall-clock time: nanoseconds since 1970, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i128);

impl Moment {
    pub(crate) const SECOND: i128 = 1_000_000_000;

    /// How long after `base` it is; zero if it is not.
    pub(crate) fn since(self, base: Self) -> Duration {
        let nanos = self.0.saturating_sub(base.0);
        duration(nanos.try_into().unwrap_or_default())
    }

    /// The last moment of the second that begins here. For a time that may have been rounded down
    /// to it.
    pub(crate) const fn end_of_second(self) -> Self {
        Self(self.0.saturating_add(Self::SECOND))
    }

    /// `YYYY-MM-DD[T ]hh:mm[:ss[.f]][Z|±hh:mm]`: RFC 3339, and ISO 8601 without seconds. Without a
    /// zone it is UTC.
    pub(crate) fn from_iso(text: &str) -> Option<Self> {
        let has = |at: usize, marks: &[u8]| {
            let byte = text.as_bytes().get(at);
            byte.is_some_and(|byte| marks.contains(byte))
        };
        // `jiff` reads more than this: dates without a time, or without marks.
        if !(has(4, b"-") && has(7, b"-") && has(10, b"Tt ") && has(13, b":")) {
            return None;
        }
        match text.parse::<Timestamp>() {
            Ok(timestamp) => Some(Self(timestamp.as_nanosecond())),
            // No zone, or the last day of the year 9999, at which a timestamp ends.
            Err(_) => {
                let time = text.strip_suffix(['Z', 'z']).unwrap_or(text);
                Some(Self::from_utc(time.parse().ok()?))
            }
        }
    }

    /// The moment at which it is `time` in Greenwich.
    pub(crate) fn from_utc(time: DateTime) -> Self {
        let epoch = date(1970, 1, 1).at(0, 0, 0, 0);
        Self(time.duration_since(epoch).as_nanos())
    }

    /// What time it is in Greenwich, if it is one of the years -9999 to 9999.
    pub(crate) fn to_utc(self) -> Option<DateTime> {
        let timestamp = Timestamp::from_nanosecond(self.0).ok()?;
        Some(Offset::UTC.to_datetime(timestamp))
    }
}

impl Moment {
    /// `None` if the system's clock does not reach so far.
    pub(crate) fn to_system_time(self) -> Option<SystemTime> {
        let distance = duration(self.0.unsigned_abs());
        match self.0 < 0 {
            true => UNIX_EPOCH.checked_sub(distance),
            false => UNIX_EPOCH.checked_add(distance),
        }
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        // A duration's nanoseconds are far from the end of an i128.
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: i128 = Moment::SECOND;

    // RFC 3339 section 5.6, with the seconds left out as ISO 8601 allows.
    #[test]
    fn iso_dates_are_read_with_and_without_seconds_fraction_and_zone() {
        let iso = |text| Moment::from_iso(text).map(|moment| moment.0);
        let noon = Some(1_755_777_600 * SECONDS);
        for text in [
            "2025-08-21T12:00:00Z",
            "2025-08-21T12:00Z",
            "2025-08-21 12:00:00Z",
            "2025-08-21t12:00:00z",
            "2025-08-21T12:00:00",
            "2025-08-21 12:00",
            "2025-08-21T14:00:00+02:00",
            "2025-08-21T14:00+02:00",
            "2025-08-21T05:00:00.000-07:00",
        ] {
            assert_eq!(iso(text), noon, "{text}");
        }
        let later = noon.map(|noon| noon + SECONDS / 4);
        assert_eq!(iso("2025-08-21T12:00:00.25Z"), later);
        assert_eq!(iso("2025-08-21T12:00:00.25"), later);
    }

    // What servers write for "never".
    #[test]
    fn the_last_second_of_the_year_9999_is_a_moment() {
        let last = Some(Moment(253_402_300_799 * SECONDS));
        assert_eq!(Moment::from_iso("9999-12-31T23:59:59Z"), last);
        assert_eq!(Moment::from_iso("9999-12-31T23:59:59"), last);
    }

    #[test]
    fn what_is_no_iso_date_is_none() {
        for text in [
            "",
            "2025",
            "2025-08-21",
            "20250821T120000Z",
            "2025-8-21T12:00:00Z",
            "2025-13-21T12:00:00Z",
            "2025-02-30T12:00:00Z",
            "2025-08-21T25:00:00Z",
            "2025-08-21T12:00:00ZZ",
            "2025-08-21T12:00:00 CET",
            "+2025-08-21T12:00:00Z",
            "-025-08-21T12:00:00Z",
        ] {
            assert_eq!(Moment::from_iso(text), None, "{text}");
        }
    }
}
