//! The values that say when a limit resets, in all the units that are in use.

use std::{ops::Deref, time::Duration};

use crate::{
    http_date,
    moment::Moment,
    number::{Number, Unit, duration},
};

const DAY: u64 = 24 * 60 * 60;

/// No server's window is longer; a greater number of seconds is something else.
const LONGEST_DELTA: Duration = Duration::from_secs(31 * DAY);

/// How far a number may be from now to be read as a point of time. The ranges that this makes in
/// seconds, milli-, micro- and nanoseconds since 1970 are far from each other, and all of them far
/// above [`LONGEST_DELTA`].
const EPOCH_RADIUS: u128 = Duration::from_secs(366 * DAY).as_nanos();

/// How long until the reset that `value` states, in whatever way.
pub(crate) fn wait(value: &str, now: &impl Deref<Target = Moment>) -> Option<Duration> {
    if let Some(number) = Number::parse(value) {
        let delta = number.duration(Unit::Seconds);
        return if delta <= LONGEST_DELTA {
            Some(delta)
        } else {
            epoch(number, **now)
        };
    }
    if let Some(sum) = units(value) {
        return Some(sum);
    }
    let at = Moment::from_iso(value).or_else(|| http_date::parse(value, || **now))?;
    let at = if value.contains('.') {
        at
    } else {
        at.end_of_second()
    };
    Some(at.since(**now))
}

/// `number` of `unit`, unless it is so great that it can only be meant as a time since 1970.
pub(crate) fn delay(number: Number, unit: Unit, now: &impl Deref<Target = Moment>) -> Duration {
    let delta = number.duration(unit);
    if delta <= LONGEST_DELTA {
        return delta;
    }
    epoch(number, **now).unwrap_or(delta)
}

/// How long until `number`, read as a time since 1970 in whichever unit brings it close to now.
///
/// A whole number of seconds was most likely rounded down, so that it stands for the end of its
/// second.
fn epoch(number: Number, now: Moment) -> Option<Duration> {
    use Unit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
    let units = [Seconds, Milliseconds, Microseconds, Nanoseconds];
    units.into_iter().find_map(|unit| {
        let at = Moment(number.nanos(unit).try_into().ok()?);
        if at.0.abs_diff(now.0) > EPOCH_RADIUS {
            return None;
        }
        let rounded = number.is_whole() && unit == Seconds;
        Some(if rounded { at.end_of_second() } else { at }.since(now))
    })
}

/// Numbers with units, as Go prints durations: `6m0s`, `2m59.56s`, `577.5ms`.
fn units(mut text: &str) -> Option<Duration> {
    let mut nanos = 0_u128;
    loop {
        let end = text.find(|char: char| char != '.' && !char.is_ascii_digit())?;
        let (number, rest) = text.split_at(end);
        let (nanos_of, rest) = unit(rest)?;
        nanos = nanos.saturating_add(nanos_of(Number::parse(number)?));
        if rest.is_empty() {
            return Some(duration(nanos));
        }
        text = rest;
    }
}

/// The unit that `text` begins with, and what follows. Longer ones first: `ms` is no `m`.
fn unit(text: &str) -> Option<(impl Fn(Number) -> u128, &str)> {
    const UNITS: [(&str, Unit, u128); 8] = [
        ("ms", Unit::Milliseconds, 1),
        ("us", Unit::Microseconds, 1),
        ("\u{b5}s", Unit::Microseconds, 1),  // micro sign
        ("\u{3bc}s", Unit::Microseconds, 1), // Greek mu
        ("ns", Unit::Nanoseconds, 1),
        ("s", Unit::Seconds, 1),
        ("m", Unit::Seconds, 60),
        ("h", Unit::Seconds, 60 * 60),
    ];
    UNITS.iter().find_map(|&(name, unit, times)| {
        let rest = text.strip_prefix(name)?;
        Some((
            move |number: Number| number.nanos(unit).saturating_mul(times),
            rest,
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-26T15:59:00Z.
    const NOW: Moment = Moment(1_774_540_740 * Moment::SECOND);

    fn read(value: &str) -> Option<Duration> {
        wait(value, &&NOW)
    }

    #[test]
    fn a_small_number_is_a_delta_in_seconds() {
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(read("41"), Some(Duration::from_secs(41)));
        assert_eq!(read("64.57"), Some(Duration::from_millis(64_570)));
        let longest = LONGEST_DELTA.as_secs();
        assert_eq!(read(&longest.to_string()), Some(LONGEST_DELTA));
        assert_eq!(read(&(longest + 1).to_string()), None);
    }

    #[test]
    fn a_number_close_to_now_is_a_point_of_time_in_the_unit_that_fits() {
        let thirty = Some(Duration::from_secs(30));
        assert_eq!(read("1774540769"), thirty, "at the end of its second");
        assert_eq!(read("1774540770.000"), thirty);
        assert_eq!(read("1774540770000"), thirty);
        assert_eq!(read("1774540770000000"), thirty);
        assert_eq!(read("1774540770000000000"), thirty);
        assert_eq!(read("1774540740.123"), Some(Duration::from_millis(123)));
    }

    #[test]
    fn a_point_of_time_that_has_passed_is_no_wait() {
        assert_eq!(read("1774540739"), Some(Duration::ZERO));
        assert_eq!(read("1774540000"), Some(Duration::ZERO));
        assert_eq!(read("1774540000000"), Some(Duration::ZERO));
        assert_eq!(read("2026-03-26T15:58Z"), Some(Duration::ZERO));
    }

    #[test]
    fn a_number_that_is_neither_soon_nor_close_to_now_is_ignored() {
        // An old fixture, the year 2030, and what no unit makes sense of.
        for value in [
            "1372700873",
            "1900000000",
            "99999999",
            "9".repeat(35).as_str(),
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn go_durations_are_summed_up() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(read("1s"), ms(1_000));
        assert_eq!(read("6m0s"), ms(360_000));
        assert_eq!(read("12ms"), ms(12));
        assert_eq!(read("2m59.56s"), ms(179_560));
        assert_eq!(read("7.66s"), ms(7_660));
        assert_eq!(read("577.5ms"), Some(Duration::from_micros(577_500)));
        assert_eq!(read("1h2m3s4ms"), ms(3_723_004));
        assert_eq!(read("1.5h"), ms(5_400_000));
        for micros in ["5us", "5\u{b5}s", "5\u{3bc}s"] {
            assert_eq!(read(micros), Some(Duration::from_micros(5)));
        }
        assert_eq!(read("5ns"), Some(Duration::from_nanos(5)));
        assert_eq!(
            read(&"99999999999999999999h".repeat(9)),
            Some(Duration::MAX)
        );
    }

    #[test]
    fn dates_are_read_and_stand_for_the_end_of_their_second() {
        assert_eq!(read("2026-03-26T16:00Z"), Some(Duration::from_secs(61)));
        assert_eq!(
            read("2026-03-26T17:00:00.0+01:00"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(
            read("Thu, 26 Mar 2026 16:00:00 GMT"),
            Some(Duration::from_secs(61))
        );
    }

    #[test]
    fn anything_else_is_ignored() {
        for value in [
            "",
            "-1",
            "+5",
            "nan",
            "inf",
            "1e9",
            "soon",
            "s",
            "5x",
            "1s2",
            "-5s",
            "1.s",
            "1..5s",
            "m",
            "5S",
            "1 s",
            "Tue Feb 16 2021 09:02:42 GMT+0100 (CET)",
            "Thu, 26 Mar 2026 16:00:00 +0100",
        ] {
            assert_eq!(read(value), None, "{value:?}");
        }
    }

    #[test]
    fn seconds_that_can_only_be_a_time_are_one() {
        let number = |text| Number::parse(text).expect("a number");
        let delay = |text| delay(number(text), Unit::Seconds, &&NOW);
        assert_eq!(delay("5"), Duration::from_secs(5));
        assert_eq!(delay("5184000"), Duration::from_secs(5_184_000), "60 days");
        assert_eq!(delay("1774540769"), Duration::from_secs(30));
        assert_eq!(delay("1372700873"), Duration::from_secs(1_372_700_873));
    }

    #[test]
    fn milliseconds_that_can_only_be_a_time_are_one() {
        let number = |text| Number::parse(text).expect("a number");
        let delay = |text| delay(number(text), Unit::Milliseconds, &&NOW);
        assert_eq!(delay("1500"), Duration::from_millis(1_500));
        assert_eq!(delay("2678400000"), LONGEST_DELTA);
        assert_eq!(delay("1774540770000"), Duration::from_secs(30));
        assert_eq!(
            delay("1774540769"),
            Duration::from_millis(1_774_540_769),
            "20 days of milliseconds"
        );
    }
}
