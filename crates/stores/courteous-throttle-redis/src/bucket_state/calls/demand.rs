use std::time::Duration;

use tokio::time::Instant;

/// How many slots were asked for in the last period, whose length is that of a lease. And the cost
/// of a request that could not wait for an answer.
#[derive(Debug)]
pub(crate) struct Demand {
    began: Instant,
    now: u64,
    before: u64,
    missed: u32,
}

impl Demand {
    pub(crate) const fn new(began: Instant) -> Self {
        Self {
            began,
            now: 0,
            before: 0,
            missed: 0,
        }
    }

    pub(crate) fn add(&mut self, count: u32, now: Instant, period: Duration) {
        self.turn(now, period);
        self.now = self.now.saturating_add(u64::from(count));
    }

    /// Notes that a request of this cost was rejected.
    pub(crate) fn miss(&mut self, cost: u32) {
        self.missed = self.missed.max(cost);
    }

    /// The highest cost of a rejected request since slots were granted last.
    pub(crate) const fn missed(&self) -> u32 {
        self.missed
    }

    /// Notes that slots were granted.
    pub(crate) const fn granted(&mut self) {
        self.missed = 0;
    }

    /// The demand to expect in a period.
    pub(crate) fn per_period(&mut self, now: Instant, period: Duration) -> u64 {
        self.turn(now, period);
        let rest = period.saturating_sub(now.saturating_duration_since(self.began));
        let share = rest.as_secs_f64() / period.as_secs_f64();
        // The share is rounded down, as a slot that is reserved and not used is lost to all
        // workers.
        self.now.saturating_add((self.before as f64 * share) as u64)
    }

    /// How many slots to reserve for a period. If the demand has just begun, this is twice the
    /// demand.
    pub(crate) fn expected(&mut self, now: Instant, period: Duration) -> u64 {
        let demand = self.per_period(now, period);
        if self.before == 0 {
            demand.saturating_mul(2)
        } else {
            demand
        }
    }

    fn turn(&mut self, now: Instant, period: Duration) {
        let passed = now.saturating_duration_since(self.began);
        if passed >= period {
            self.before = if passed < period * 2 { self.now } else { 0 };
            self.now = 0;
            self.began = if passed < period * 2 {
                self.began + period
            } else {
                now
            };
        }
    }
}
