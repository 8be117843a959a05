//! The values that say when a limit resets, in all the units that are in use.

use std::{ops::Deref, time::Duration};

use crate::{
    date::Moment,
    number::{Number, Unit, duration},
};

const DAY: u64 = 24 * 60 * 60;

/// No server's window is longer; a greater number of seconds is something else.
const LONGEST_DELTA: Duration = Duration::from_secs(31 * DAY);

/// How far a number may be from now to be read as a point of time. The ranges that this makes in seconds, milli-, micro-
/// and nanoseconds since 1970 are far from each other, and all of them far above [`LONGEST_DELTA`].
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
    let at = Moment::from_iso(value).or_else(|| Moment::from_http(value, || Some(**now)))?;
    let at = if value.contains('.') {
        at
    } else {
        at.end_of_second()
    };
    Some(at.since(**now))
}

/// A number of seconds, unless it is so great that it can only be meant as a time since 1970.
pub(crate) fn delay(number: Number, now: &impl Deref<Target = Moment>) -> Duration {
    let delta = number.duration(Unit::Seconds);
    if delta <= LONGEST_DELTA {
        return delta;
    }
    epoch(number, **now).unwrap_or(delta)
}

/// How long until `number`, read as a time since 1970 in whichever unit brings it close to now.
///
/// A whole number of seconds was most likely rounded down, so that it stands for the end of its second.
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
