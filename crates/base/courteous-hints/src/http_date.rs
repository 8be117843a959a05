use std::{ops::RangeInclusive, time::SystemTime};

use jiff::{
    ToSpan,
    civil::{Date, Time},
};

use crate::moment::Moment;

/// Reads an HTTP-date (RFC 9110 section 5.6.7) in any of its three forms, as leniently as can be without a change of
/// meaning.
///
/// `received` is when it was received, and settles the century of a two-digit year: it is at most 50 years later.
///
/// More lenient than the grammar: names in any case and length, any blanks, days without their zero, and a weekday that
/// does not fit the date. The zone must be GMT. `None` for anything else.
#[must_use]
pub fn parse_http_date(text: &str, received: SystemTime) -> Option<SystemTime> {
    parse(text, || received.into())?.to_system_time()
}

/// Reads an HTTP-date (RFC 9110 section 5.6.7) in any of its three forms, exactly as the grammar has them.
///
/// `received` is when it was received, and settles the century of a two-digit year: it is at most 50 years later.
///
/// For a cache, to which a date that is not well-formed is one in the past (RFC 9111 section 5.3). So there are single
/// spaces, all zeros, and the weekday's name in the length that belongs to the form. Two things are let pass: other case,
/// as RFC 9111 section 4.2 asks of a cache, and a weekday that does not fit the date. `None` for anything else.
#[must_use]
pub fn parse_http_date_strictly(text: &str, received: SystemTime) -> Option<SystemTime> {
    if !is_strict(text) {
        return None;
    }
    parse_http_date(text, received)
}

/// Whether `text` has the shape of one of the three forms. What its words mean, [`parse`] looks at.
fn is_strict(text: &str) -> bool {
    // A letter stands for any letter, and a nought for any digit.
    const PREFERRED: &[u8] = b"aaa, 00 aaa 0000 00:00:00 aaa";
    const ASCTIME: &[u8] = b"aaa aaa 00 00:00:00 0000";
    const ASCTIME_SHORT: &[u8] = b"aaa aaa  0 00:00:00 0000";
    const RFC_850: &[u8] = b", 00-aaa-00 00:00:00 aaa";
    let has = |text: &[u8], shape: &[u8]| {
        let fits = |(byte, shape): (&u8, &u8)| match shape {
            b'a' => byte.is_ascii_alphabetic(),
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        };
        text.len() == shape.len() && text.iter().zip(shape).all(fits)
    };
    let text = text.as_bytes();
    let comma = text.iter().position(|&byte| byte == b',');
    match comma {
        Some(3) => has(text, PREFERRED),
        // A weekday in full has six letters at least.
        Some(comma) => {
            let (weekday, rest) = text.split_at(comma);
            comma >= 6 && weekday.iter().all(u8::is_ascii_alphabetic) && has(rest, RFC_850)
        }
        None => has(text, ASCTIME) || has(text, ASCTIME_SHORT),
    }
}

/// An HTTP-date (RFC 9110 section 5.6.7), in any of its three forms. `now` settles the century of a
/// two-digit year.
///
/// More lenient than the grammar where that cannot change the meaning: names in any case and
/// length, blanks, days without their zero, and a weekday that does not fit the date. The zone must
/// be GMT.
pub(crate) fn parse(text: &str, now: impl FnOnce() -> Moment) -> Option<Moment> {
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
            at_short_year(short, month, day, time, now())
        }
        // Sun Nov  6 08:49:37 1994
        [weekday, month, day, time, year] => {
            check_weekday(weekday)?;
            at(digits(year, 4..=4)?, month, day, time)
        }
        _ => None,
    }
}

/// The latest year with these last two digits that is not more than 50 years ahead (RFC 9110
/// section 5.6.7).
fn at_short_year(short: i16, month: &str, day: &str, time: &str, now: Moment) -> Option<Moment> {
    let latest = now.to_utc()?.checked_add(50.years()).ok()?;
    let year = latest.year() - (latest.year() - short).rem_euclid(100);
    let moment = at(year, month, day, time)?;
    if moment > Moment::from_utc(latest) {
        return at(year - 100, month, day, time);
    }
    Some(moment)
}

fn at(year: i16, month: &str, day: &str, time: &str) -> Option<Moment> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *time.as_bytes() else {
        return None;
    };
    let (hour, minute, second) = (pair(h1, h2)?, pair(m1, m2)?, pair(s1, s2)?);
    let day = digits(day, 1..=2)?.try_into().ok()?;
    let date = Date::new(year, month_number(month)?, day).ok()?;
    // A leap second, the 60th, has no place of its own in Unix time: it is the second after the
    // 59th.
    let leap = second == 60;
    let time = Time::new(hour, minute, if leap { 59 } else { second }, 0).ok()?;
    let moment = Moment::from_utc(date.to_datetime(time));
    Some(if leap { moment.end_of_second() } else { moment })
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

fn digits(text: &str, length: RangeInclusive<usize>) -> Option<i16> {
    let plain = length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn pair(tens: u8, ones: u8) -> Option<i8> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| (byte - b'0') as i8);
    Some(digit(tens)? * 10 + digit(ones)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: i128 = Moment::SECOND;

    /// 2026-11-21T00:00:00Z.
    const NOW: Moment = Moment(1_795_219_200 * SECONDS);

    fn seconds(text: &str) -> Option<i128> {
        seconds_seen_at(NOW, text)
    }

    fn strict(text: &str) -> Option<i128> {
        let now = NOW.to_system_time().expect("in range");
        let time = parse_http_date_strictly(text, now)?;
        Some(Moment::from(time).0 / SECONDS)
    }

    fn seconds_seen_at(now: Moment, text: &str) -> Option<i128> {
        parse(text, || now).map(|moment| moment.0 / SECONDS)
    }

    // RFC 9110 section 5.6.7: a recipient must accept all three forms.
    #[test]
    fn all_three_forms_name_the_same_second() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(seconds(text), Some(784_111_777), "{text}");
        }
    }

    // Section 5.6.7, grammar: second = 00-60, where 60 is a leap second.
    #[test]
    fn a_leap_second_is_the_second_after_the_59th() {
        let leap = seconds("Sat, 31 Dec 2016 23:59:60 GMT");
        assert_eq!(leap, seconds("Sun, 01 Jan 2017 00:00:00 GMT"));
        assert_eq!(
            seconds("Sat Dec 31 23:59:60 2016"),
            leap,
            "in every form of a date"
        );
        assert_eq!(seconds("Saturday, 31-Dec-16 23:59:60 GMT"), leap);
        assert_eq!(seconds("Sat, 31 Dec 2016 23:59:61 GMT"), None);
    }

    // Section 5.6.7: a two-digit year that looks to be more than 50 years ahead is the latest past
    // one with these digits.
    #[test]
    fn a_two_digit_year_is_at_most_fifty_years_ahead() {
        let year = |now, text| {
            let moment = parse(text, || now).expect("a date");
            moment.to_utc().expect("in range").year()
        };
        assert_eq!(year(NOW, "Wednesday, 06-Nov-75 08:49:37 GMT"), 2075);
        assert_eq!(year(NOW, "Sunday, 06-Nov-77 08:49:37 GMT"), 1977);
        assert_eq!(year(NOW, "Sunday, 06-Nov-94 08:49:37 GMT"), 1994);
        assert_eq!(year(NOW, "Friday, 06-Nov-26 08:49:37 GMT"), 2026);
        assert_eq!(
            year(NOW, "Friday, 25-Dec-26 08:49:37 GMT"),
            2026,
            "later in this year"
        );
        // Not by the year alone: 50 years from now is a day in November.
        assert_eq!(year(NOW, "Friday, 20-Nov-76 23:59:59 GMT"), 2076);
        assert_eq!(year(NOW, "Saturday, 21-Nov-76 00:00:00 GMT"), 2076);
        assert_eq!(year(NOW, "Saturday, 21-Nov-76 00:00:01 GMT"), 1976);
    }

    #[test]
    fn the_fifty_years_move_on_with_the_clock_and_across_centuries() {
        let at = |year, month, day| {
            let time = jiff::civil::date(year, month, day).at(0, 0, 0, 0);
            Moment::from_utc(time)
        };
        let text = "Tuesday, 05-Jan-05 00:00:00 GMT";
        let moment = |now| parse(text, || now);
        assert_eq!(moment(at(1994, 1, 1)), Some(at(2005, 1, 5)));
        assert_eq!(moment(at(2026, 1, 1)), Some(at(2005, 1, 5)));
        assert_eq!(moment(at(2080, 1, 1)), Some(at(2105, 1, 5)));
        // 29 February has no day 50 years ahead.
        assert_eq!(moment(at(2024, 2, 29)), Some(at(2005, 1, 5)));
    }

    // Section 5.6.7: the grammar is case-sensitive, and recipients are encouraged to be lenient.
    #[test]
    fn what_cannot_change_the_meaning_is_let_pass() {
        for text in [
            "sun, 06 nov 1994 08:49:37 gmt",
            "SUNDAY, 06-NOV-94 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun Nov 06 08:49:37 1994",
            "Mon, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(seconds(text), Some(784_111_777), "{text}");
        }
    }

    // RFC 9110 section 5.6.7: IMF-fixdate, rfc850-date, asctime-date; its day of one digit stands behind two blanks.
    #[test]
    fn all_three_forms_are_strict() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994",
        ] {
            assert_eq!(strict(text), Some(784_111_777), "{text}");
        }
        assert_eq!(
            strict("Wednesday, 06-Nov-75 08:49:37 GMT"),
            seconds("Wednesday, 06-Nov-75 08:49:37 GMT")
        );
        assert_eq!(strict("Wed, 31 Dec 1969 23:59:59 GMT"), Some(-1));
    }

    // RFC 9111 section 4.2: a cache should match the names without regard to case.
    #[test]
    fn strict_dates_may_be_in_any_case() {
        for text in [
            "sun, 06 nov 1994 08:49:37 gmt",
            "SUNDAY, 06-NOV-94 08:49:37 GMT",
        ] {
            assert_eq!(strict(text), Some(784_111_777), "{text}");
        }
    }

    // RFC 9110 section 5.6.7: a sender must not generate additional whitespace, and the lengths are fixed.
    #[test]
    fn what_only_a_lenient_reader_understands_is_not_strict() {
        for text in [
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov  1994 08:49:37 GMT",
            "Sun, 06 Nov 1994  08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37  GMT",
            " Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun,\t06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun,  6 Nov 1994 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "   Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday,  06-Nov-94 08:49:37 GMT",
            "Sunday, 6-Nov-94 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun  Nov  6 08:49:37 1994",
            "Sunday Nov  6 08:49:37 1994",
            "Sun Nov   6 08:49:37 1994",
        ] {
            assert!(seconds(text).is_some(), "{text:?}");
            assert_eq!(strict(text), None, "{text:?}");
        }
        for text in [
            "",
            ",",
            "0",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Someday, 06-Nov-94 08:49:37 GMT",
            "S\u{f6}n, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(strict(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_date_in_another_zone_is_none() {
        for zone in ["", "UTC", "Z", "EST", "+0000", "+0100", "GMT+0100", "gmt0"] {
            let text = format!("Sun, 06 Nov 1994 08:49:37 {zone}");
            assert_eq!(seconds(&text), None, "{text}");
        }
        assert_eq!(
            seconds("Tue Feb 16 2021 09:02:42 GMT+0100 (Central European Standard Time)"),
            None
        );
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "Sun",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Tue, 29 Feb 2023 08:49:37 GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06 Nov 01994 08:49:37 GMT",
            "Sun, 06 Nov -994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 +8:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sön, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-1994-1 08:49:37 GMT",
            "Sunday, 06/Nov/94 08:49:37 GMT",
            "Sun, Nov 6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn dates_reach_from_year_0_to_9999() {
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("Wed, 31 Dec 1969 23:59:59 GMT"), Some(-1));
        assert!(seconds("Fri, 01 Jan 0000 00:00:00 GMT").is_some());
        assert!(seconds("Fri, 30 Dec 9999 00:00:00 GMT").is_some());
        // What servers write for "never".
        assert_eq!(
            seconds("Fri, 31 Dec 9999 23:59:59 GMT"),
            Some(253_402_300_799)
        );
        assert_eq!(
            seconds("Fri, 31 Dec 9999 23:59:60 GMT"),
            Some(253_402_300_800)
        );
    }

    #[test]
    fn a_two_digit_year_at_the_end_of_time_is_no_panic() {
        for now in [Moment(i128::MIN), Moment(i128::MAX)] {
            assert_eq!(seconds_seen_at(now, "Sunday, 06-Nov-94 08:49:37 GMT"), None);
        }
        for now in [
            "9999-12-30T00:00Z",
            "9960-02-29T00:00Z",
            "0001-01-01T00:00Z",
        ] {
            let now = Moment::from_iso(now).expect("a date");
            let _ = seconds_seen_at(now, "Sunday, 06-Nov-94 08:49:37 GMT");
            let _ = seconds_seen_at(now, "Sunday, 29-Feb-00 08:49:37 GMT");
        }
    }
}
