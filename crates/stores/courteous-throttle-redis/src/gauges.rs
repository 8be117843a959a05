use tokio::time::Instant;

use crate::bucket_state::BucketState;

/// The calls between a worker and Redis and their results, for one bucket: at one instant, or since
/// the bucket was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauges {
    connected: bool,
    waiting: usize,
    leased: u64,
    calls: u64,
    failures: u64,
    late: u64,
    cold_starts: u64,
    clock_steps: u64,
    workers: u32,
    rates: u32,
}

impl Gauges {
    pub(crate) fn of(bucket: &mut BucketState, now: Instant) -> Self {
        bucket.settle(now);
        let counts = bucket.calls.counts();
        Self {
            connected: bucket.calls.is_connected(),
            waiting: bucket.waiting(),
            leased: bucket.tokens.leased().len(),
            calls: counts.calls,
            failures: counts.failures,
            late: counts.late,
            cold_starts: counts.cold_starts,
            clock_steps: counts.steps,
            workers: counts.workers,
            rates: counts.rates,
        }
    }

    /// Whether Redis answered the last call in time. One late answer does not make it count as
    /// away, but two in a row do.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected
    }

    /// How many calls wait in this worker's queue.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many slots this worker has leased and not used, whether open or not.
    #[must_use]
    pub const fn leased(&self) -> u64 {
        self.leased
    }

    /// How many calls to Redis were made.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.calls
    }

    /// How many of these calls got no answer, or an error.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// How many answers came so late that no slot in them was of use, as the way to Redis takes
    /// longer than a lease.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// How many times this worker found that Redis knew nothing of the schedule, so that a new
    /// schedule began. Causes are the first call ever, a restart, a promotion, lost data, or a step
    /// of Redis' clock.
    #[must_use]
    pub const fn cold_starts(&self) -> u64 {
        self.cold_starts
    }

    /// How many times this worker saw that Redis' clock was set forward.
    #[must_use]
    pub const fn clock_steps(&self) -> u64 {
        self.clock_steps
    }

    /// How many workers used the bucket lately, as of the last answer.
    #[must_use]
    pub const fn workers(&self) -> u32 {
        self.workers
    }

    /// How many different rates the workers stated in the last 5 s, as of the last answer. If there
    /// is more than one, the strictest is in force. Then a worker is configured wrongly, or a
    /// change of the rate is being rolled out.
    #[must_use]
    pub const fn rates(&self) -> u32 {
        self.rates
    }
}
