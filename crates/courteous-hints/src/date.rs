use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::{Timestamp, civil::DateTime, tz::Offset};

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

    /// The last moment of the second that begins here. For a time that may have been rounded down to it.
    pub(crate) const fn end_of_second(self) -> Self {
        Self(self.0.saturating_add(Self::SECOND))
    }

    /// An HTTP-date (RFC 9110 section 5.6.7), in any of its three forms. `now` settles the century of a two-digit year.
    ///
    /// More lenient than the grammar where that cannot change the meaning: names in any case and length, blanks, days without
    /// their zero, and a weekday that does not fit the date. The zone must be GMT.
    pub(crate) fn from_http(text: &str, now: impl FnOnce() -> Option<Self>) -> Option<Self> {
        let mut words = [""; 6];
        let mut count = 0;
        for word in text.split_ascii_whitespace() {
            *words.get_mut(count)? = word;
            count += 1;
        }
        match words[..count] {
            // Sun, 06 Nov 1994 08:49:37 GMT
            [weekday, day, month, year, time, zone] => {
                check_weekday(weekday.strip_suffix(',')?)?;
                check_zone(zone)?;
                at(digits(year, 4..=4)?, month, day, time)
            }
            // Sunday, 06-Nov-94 08:49:37 GMT
            [weekday, date, time, zone] => {
                check_weekday(weekday.strip_suffix(',')?)?;
                check_zone(zone)?;
                let (day, rest) = date.split_once('-')?;
                let (month, year) = rest.split_once('-')?;
                let short = digits(year, 2..=2)?;
                at_short_year(short, month, day, time, now()?)
            }
            // Sun Nov  6 08:49:37 1994
            [weekday, month, day, time, year] => {
                check_weekday(weekday)?;
                at(digits(year, 4..=4)?, month, day, time)
            }
            _ => None,
        }
    }

    /// `YYYY-MM-DD[T ]hh:mm[:ss[.f]][Z|±hh:mm]`: RFC 3339, and ISO 8601 without seconds. Without a zone it is UTC.
    pub(crate) fn from_iso(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let shaped = matches!(
            bytes,
            [
                _,
                _,
                _,
                _,
                b'-',
                _,
                _,
                b'-',
                _,
                _,
                b'T' | b't' | b' ',
                _,
                _,
                b':',
                ..
            ]
        );
        if !shaped {
            return None;
        }
        let timestamp: Timestamp = match text.parse() {
            Ok(timestamp) => timestamp,
            Err(_) => utc(text.parse().ok()?)?,
        };
        Some(Self(timestamp.as_nanosecond()))
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

/// The year with these last two digits that is nearest to now, yet at most 50 years ahead (RFC 9110 section 5.6.7).
fn at_short_year(short: i16, month: &str, day: &str, time: &str, now: Moment) -> Option<Moment> {
    let now = Timestamp::from_nanosecond(now.0).ok()?;
    let now = Offset::UTC.to_datetime(now);
    let last = now.year().checked_add(50)?;
    let year = last - (last - short).rem_euclid(100);
    let moment = at(year, month, day, time)?;
    let limit = now.with().year(last).build().or_else(|_| {
        // 29 February, and no leap year in 50 years
        now.with().year(last).day(28).build()
    });
    if moment.0 > utc(limit.ok()?)?.as_nanosecond() {
        return at(year - 100, month, day, time);
    }
    Some(moment)
}

fn at(year: i16, month: &str, day: &str, time: &str) -> Option<Moment> {
    let [h, i, c, m, n, d, s, e] = *time.as_bytes() else {
        return None;
    };
    if (c, d) != (b':', b':') {
        return None;
    }
    let (hour, minute, second) = (pair(h, i)?, pair(m, n)?, pair(s, e)?);
    let day = digits(day, 1..=2)?;
    // The 60th is a leap second. Unix time has no place for it but the next one's.
    let leap = i128::from(second == 60);
    let second = if second == 60 { 59 } else { second };
    let day = date_of(year, month_number(month)?, day.try_into().ok()?)?;
    let time = jiff::civil::Time::new(hour, minute, second, 0).ok()?;
    let timestamp = utc(day.to_datetime(time))?;
    Some(Moment(timestamp.as_nanosecond() + leap * Moment::SECOND))
}

fn date_of(year: i16, month: i8, day: i8) -> Option<jiff::civil::Date> {
    jiff::civil::Date::new(year, month, day).ok()
}

fn utc(time: DateTime) -> Option<Timestamp> {
    Offset::UTC.to_timestamp(time).ok()
}

fn check_zone(zone: &str) -> Option<()> {
    zone.eq_ignore_ascii_case("GMT").then_some(())
}

fn check_weekday(name: &str) -> Option<()> {
    const NAMES: [&str; 7] = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    let mut names = NAMES.iter().flat_map(|full| [full, &full[..3]]);
    names.find(|full| name.eq_ignore_ascii_case(full)).map(drop)
}

fn month_number(name: &str) -> Option<i8> {
    const NAMES: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let index = NAMES
        .iter()
        .position(|month| name.eq_ignore_ascii_case(month))?;
    i8::try_from(index + 1).ok()
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<i16> {
    let plain = length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn pair(tens: u8, ones: u8) -> Option<i8> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| (byte - b'0') as i8);
    Some(digit(tens)? * 10 + digit(ones)?)
}
