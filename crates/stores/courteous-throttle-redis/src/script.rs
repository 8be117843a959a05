use std::time::Duration;

use crate::terms::Terms;

/// The script that reserves slots.
pub(crate) const SOURCE: &str = include_str!("reserve.lua");

/// The arguments of the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) worker: u64,
    pub(crate) terms: Terms,
    /// Fewer slots than this are of no use. With zero, no slot is asked for.
    pub(crate) need: u32,
    pub(crate) want: u32,
    /// A server asked this worker for a pause, which goes on for this long.
    pub(crate) closed_for: Duration,
    /// A server's quota lasts until its reset if one call is made in each `pace`. It is reset after
    /// `paced_for`.
    pub(crate) pace: Duration,
    pub(crate) paced_for: Duration,
    /// Redis' clock was set forward by `step` microseconds. A worker saw that when the skew was
    /// `skew`.
    pub(crate) skew: i64,
    pub(crate) step: i64,
    /// The latest schedule that this worker has seen.
    pub(crate) seen: Seen,
}

/// How far a schedule was when a worker saw it. Of two such states, the later one was born later
/// or, if they are the same schedule, ends later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The schedule's identity: when it began, in microseconds of Redis' clock. It is 0 if no
    /// schedule was seen.
    pub(crate) born: i64,
    /// When the schedule was seen, in microseconds of Redis' clock, and where it ended, in
    /// nanoseconds from then on.
    pub(crate) now: i64,
    pub(crate) ends: i64,
}

impl Call {
    pub(crate) fn args(&self) -> [String; 13] {
        let nanos = |time: Duration| bounded(time).to_string();
        [
            format!("{:016x}", self.worker),
            self.terms.interval().to_string(),
            self.terms.burst().to_string(),
            self.need.to_string(),
            self.want.to_string(),
            nanos(self.closed_for),
            nanos(self.pace),
            nanos(self.paced_for),
            self.skew.to_string(),
            self.step.to_string(),
            self.seen.born.to_string(),
            self.seen.now.to_string(),
            self.seen.ends.to_string(),
        ]
    }
}

/// Converts to nanoseconds, bounded so that the value is exact in floating point.
pub(crate) fn bounded(time: Duration) -> i64 {
    const MAX: i64 = 1 << 52;
    i64::try_from(time.as_nanos()).unwrap_or(MAX).min(MAX)
}

/// The answer of the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) granted: u32,
    /// When the first slot begins, and where the schedule ends now, in nanoseconds from the
    /// script's run on.
    pub(crate) first: i64,
    pub(crate) ends: i64,
    /// If nothing was granted, how long it takes until there may be slots.
    pub(crate) wait: Duration,
    pub(crate) workers: u32,
    /// How many different rates were stated lately, and the strictest of them.
    pub(crate) rates: u32,
    pub(crate) terms: Terms,
    pub(crate) closed_for: Duration,
    /// Redis' clock in microseconds, as corrected by `skew`.
    pub(crate) now: i64,
    pub(crate) skew: i64,
    /// Which run of which server this is.
    pub(crate) run: i64,
    /// Whether nothing was known of the schedule, so that a new one began.
    pub(crate) cold: bool,
    /// Which schedule this is: see [`Seen`].
    pub(crate) born: i64,
}

impl Reply {
    /// Reads an answer. Returns `None` if it is not an answer of this script.
    pub(crate) fn read(values: &[i64]) -> Option<Self> {
        let &[
            granted,
            first,
            ends,
            wait,
            workers,
            rates,
            interval,
            burst,
            closed,
            now,
            skew,
            run,
            cold,
            born,
        ] = values
        else {
            return None;
        };
        Some(Self {
            granted: u32::try_from(granted).ok()?,
            first,
            ends,
            wait: Duration::from_nanos(u64::try_from(wait).ok()?),
            workers: u32::try_from(workers).ok()?,
            rates: u32::try_from(rates).ok()?,
            terms: Terms::new(u64::try_from(interval).ok()?, u32::try_from(burst).ok()?),
            closed_for: Duration::from_nanos(u64::try_from(closed).ok()?),
            now,
            skew,
            run,
            cold: cold != 0,
            born,
        })
    }

    /// How far the schedule is.
    pub(crate) const fn seen(&self) -> Seen {
        Seen {
            born: self.born,
            now: self.now,
            ends: self.ends,
        }
    }
}
