use std::time::Duration;

use tokio::time::Instant;

use crate::script::Reply;

/// How much further Redis' clock may have moved than this worker's, besides a thousandth of the
/// time: their resolution, and the pace of a clock that is being set gently.
const TOLERANCE: Duration = Duration::from_millis(2);

/// What this worker's clock tells about Redis'.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    seen: Option<Reading>,
    step: Option<Step>,
}

/// A reading of Redis' clock, and between which instants it was made.
#[derive(Clone, Copy, Debug)]
struct Reading {
    run: i64,
    now: i64,
    before: Instant,
    received: Instant,
}

/// Redis' clock was set forward, in microseconds; that was seen when the skew was `skew`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) skew: i64,
    pub(crate) step: i64,
}

impl Clock {
    /// Whether Redis' clock moved as this one did. If it was set forward, what it granted must not
    /// be used.
    pub(crate) fn agrees(&mut self, reply: &Reply, before: Instant, received: Instant) -> bool {
        self.step = None;
        if let Some(seen) = self.seen
            && seen.run == reply.run
        {
            let moved = micros(reply.now.saturating_sub(seen.now));
            let most = received.saturating_duration_since(seen.before);
            if moved > most + most / 1000 + TOLERANCE {
                // The most that it can be: then what Redis is told is never later than it is.
                let least = before.saturating_duration_since(seen.received);
                let step = moved.saturating_sub(least).as_micros();
                self.step = Some(Step {
                    skew: reply.skew,
                    step: i64::try_from(step).unwrap_or(i64::MAX),
                });
                return false;
            }
        }
        self.seen = Some(Reading {
            run: reply.run,
            now: reply.now,
            before,
            received,
        });
        true
    }

    #[cfg(test)]
    pub(crate) fn has_seen(&self, run: i64) -> bool {
        self.seen.is_some_and(|seen| seen.run == run)
    }

    /// What Redis has to be told.
    pub(crate) const fn step(&self) -> Option<Step> {
        self.step
    }
}

/// Nothing if negative: a clock that was set back is Redis' own to notice.
fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
