use std::time::Duration;

use tokio::time::Instant;

use crate::script::Reply;

/// How much further Redis' clock may have moved than this worker's, besides a thousandth of the
/// time. This allows for the resolution of the clocks, and for a clock that is being set gently.
const TOLERANCE: Duration = Duration::from_millis(2);

/// What this worker's clock shows about Redis' clock.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    seen: Option<Reading>,
    step: Option<Step>,
}

/// A reading of Redis' clock, and the two instants between which it was made.
#[derive(Clone, Copy, Debug)]
struct Reading {
    run: i64,
    now: i64,
    before: Instant,
    received: Instant,
}

/// A forward step of Redis' clock, in microseconds. It was seen when the skew was `skew`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) skew: i64,
    pub(crate) step: i64,
}

impl ServerClock {
    /// Whether Redis' clock moved as this one did. If Redis' clock was set forward, the slots that
    /// it granted must not be used.
    pub(crate) fn agrees(&mut self, reply: &Reply, before: Instant, received: Instant) -> bool {
        self.step = None;
        if let Some(seen) = self.seen
            && seen.run == reply.run
        {
            let moved = micros(reply.now.saturating_sub(seen.now));
            let most = received.saturating_duration_since(seen.before);
            if moved > most + most / 1000 + TOLERANCE {
                // This is the largest step possible. So the corrected time of Redis is never later
                // than the true time.
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

    /// The step that Redis has to be told.
    pub(crate) const fn step(&self) -> Option<Step> {
        self.step
    }
}

/// Returns zero if the time is negative: Redis itself notices a clock that was set back.
fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
