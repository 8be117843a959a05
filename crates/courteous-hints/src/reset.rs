use std::{ops::Deref, time::Duration};

use crate::{
    date::Moment,
    number::{Number, Unit},
};

const DAY: u64 = 24 * 60 * 60;

/// No server's window is longer; a greater number of seconds is something else.
const LONGEST_DELTA: Duration = Duration::from_secs(31 * DAY);

/// A number is a point of time if it is this close to now: in none of the units can a delta of less than 31 years be mistaken for one.
const EPOCH_RADIUS: u128 = Duration::from_secs(366 * DAY).as_nanos();

/// A number of seconds, unless it is so great that it must be a time since 1970.
pub(crate) fn delay(number: Number, now: &impl Deref<Target = Moment>) -> Duration {
    let delta = number.duration(Unit::Seconds);
    if delta <= LONGEST_DELTA {
        return delta;
    }
    epoch(number, **now).unwrap_or(delta)
}

/// How long it is until `number`, read as a time since 1970 in whichever unit brings it close to now.
fn epoch(number: Number, now: Moment) -> Option<Duration> {
    use Unit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
    [Seconds, Milliseconds, Microseconds, Nanoseconds]
        .into_iter()
        .find_map(|unit| {
            let at = Moment(number.nanos(unit).try_into().ok()?);
            let near = at.0.abs_diff(now.0) <= EPOCH_RADIUS;
            let rounded = number.is_whole() && unit == Seconds;
            near.then(|| if rounded { at.end_of_second() } else { at }.since(now))
        })
}
