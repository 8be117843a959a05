use std::time::Duration;

use tokio::time::Instant;

/// What a call can wait for before it is sent: a key of its [`CallRecord`](crate::CallRecord).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitedFor {
    /// A permit of a concurrency limit.
    Concurrency,
    /// A token of a throttle.
    Throttle,
    /// A credential, such as an access token that is being refreshed.
    Credential,
    /// The next attempt of a retry.
    Backoff,
}

impl WaitedFor {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Concurrency,
        Self::Throttle,
        Self::Credential,
        Self::Backoff,
    ];

    /// Its name in events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Throttle => "throttle",
            Self::Credential => "credential",
            Self::Backoff => "backoff",
        }
    }
}

/// The waits of one call, by what it waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits([Wait; WaitedFor::ALL.len()]);

/// The waits for one thing: those that have ended, and those that go on. Parallel ones add up.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    /// The sum at `counted_at`.
    sum: Duration,
    under_way: u32,
    /// `Some` while waits are under way.
    counted_at: Option<Instant>,
}

impl Waits {
    pub(crate) fn begin(&mut self, waited_for: WaitedFor, now: Instant) {
        let wait = &mut self.0[waited_for as usize];
        wait.count(now);
        wait.under_way = wait.under_way.saturating_add(1);
        wait.counted_at = Some(now);
    }

    pub(crate) fn end(&mut self, waited_for: WaitedFor, now: Instant) {
        let wait = &mut self.0[waited_for as usize];
        wait.count(now);
        wait.under_way = wait.under_way.saturating_sub(1);
        wait.counted_at = (wait.under_way > 0).then_some(now);
    }

    pub(crate) fn sum(&self, waited_for: WaitedFor, now: Instant) -> Duration {
        let mut wait = self.0[waited_for as usize];
        wait.count(now);
        wait.sum
    }
}

impl Wait {
    /// Adds what has passed since the last count.
    fn count(&mut self, now: Instant) {
        let Some(counted_at) = self.counted_at else {
            return;
        };
        let passed = now.saturating_duration_since(counted_at);
        let passed = passed.checked_mul(self.under_way).unwrap_or(Duration::MAX);
        self.sum = self.sum.saturating_add(passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_thing_that_is_waited_for_has_a_sum_of_its_own() {
        assert_eq!(WaitedFor::ALL.last(), Some(&WaitedFor::Backoff));
        let (mut waits, now) = (Waits::default(), Instant::now());
        for (index, &waited_for) in WaitedFor::ALL.iter().enumerate() {
            assert_eq!(waited_for as usize, index);
            waits.begin(waited_for, now);
            waits.end(waited_for, now + SECOND * (index as u32 + 1));
        }
        for (index, &waited_for) in WaitedFor::ALL.iter().enumerate() {
            let sum = waits.sum(waited_for, now + 100 * SECOND);
            assert_eq!(sum, SECOND * (index as u32 + 1));
        }
    }

    #[test]
    fn waits_that_overlap_add_up_and_one_that_goes_on_is_counted() {
        let (mut waits, start) = (Waits::default(), Instant::now());
        let at = |seconds| start + SECOND * seconds;
        let queue = WaitedFor::Throttle;
        waits.begin(queue, at(0));
        waits.begin(queue, at(2));
        assert_eq!(waits.sum(queue, at(3)), 4 * SECOND);
        waits.end(queue, at(5));
        assert_eq!(waits.sum(queue, at(5)), 8 * SECOND);
        waits.end(queue, at(9));
        assert_eq!(waits.sum(queue, at(50)), 12 * SECOND);
        waits.begin(queue, at(60));
        assert_eq!(waits.sum(queue, at(61)), 13 * SECOND);
    }

    #[test]
    fn an_end_without_a_beginning_counts_nothing() {
        let (mut waits, now) = (Waits::default(), Instant::now());
        waits.end(WaitedFor::Concurrency, now);
        waits.begin(WaitedFor::Concurrency, now + SECOND);
        waits.end(WaitedFor::Concurrency, now + 3 * SECOND);
        let sum = waits.sum(WaitedFor::Concurrency, now + 9 * SECOND);
        assert_eq!(sum, 2 * SECOND);
    }
}
