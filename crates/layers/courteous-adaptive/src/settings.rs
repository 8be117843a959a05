use std::time::Duration;

use tokio::time::Instant;

use crate::controller::Bounds;

/// The part of the time left that a call may spend in the queue: the rest is for the attempt.
const SHARE: (u32, u32) = (3, 4);

impl Bounds {
    /// Between pacing and 1,000 in flight; late from five baselines on.
    pub(crate) const DEFAULT: Self = Self {
        min: 0.0,
        max: 1_000.0,
        tolerance: 5.0,
        attempt_timeout: None,
    };
}

/// How a call may wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits {
    pub(crate) max_wait: Option<Duration>,
    pub(crate) max_waiting: Option<usize>,
    /// How long the attempt may take that the wait is for, if it is known.
    pub(crate) attempt_timeout: Option<Duration>,
    /// Whether calls with a deadline wait in the order in which they came, too.
    pub(crate) oldest_first: bool,
    /// Whether the call is sent at once in any case.
    pub(crate) observed: bool,
}

impl Waits {
    /// When a wait that begins now must end: after three quarters of the time left, or an attempt
    /// timeout before the deadline, if that is later. `None` if the call may wait for as long as it
    /// takes.
    pub(crate) fn latest(&self, now: Instant, deadline: Option<Instant>) -> Option<Instant> {
        let (part, of) = SHARE;
        let by_deadline = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(now);
            // No attempt needs more than its timeout.
            let needed = self.attempt_timeout.unwrap_or(left);
            now + (left / of * part).max(left.saturating_sub(needed))
        });
        let by_wait = self.max_wait.and_then(|wait| now.checked_add(wait));
        match (by_deadline, by_wait) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_after_three_quarters_of_the_time_left_or_earlier_if_the_layer_says_so() {
        let now = Instant::now();
        let (deadline, mut waits) = (Some(now + Duration::from_secs(2)), Waits::default());
        assert_eq!(waits.latest(now, None), None);
        assert_eq!(
            waits.latest(now, deadline),
            Some(now + Duration::from_millis(1_500))
        );
        assert_eq!(
            waits.latest(now, Some(now - Duration::from_secs(1))),
            Some(now)
        );
        waits.max_wait = Some(Duration::from_secs(1));
        assert_eq!(
            waits.latest(now, deadline),
            Some(now + Duration::from_secs(1))
        );
        waits.max_wait = Some(Duration::MAX);
        assert_eq!(waits.latest(now, None), None);
    }

    #[test]
    fn the_rest_for_an_attempt_is_no_longer_than_its_timeout() {
        let now = Instant::now();
        let latest = |seconds, timeout| {
            let waits = Waits {
                attempt_timeout: Some(Duration::from_millis(timeout)),
                ..Waits::default()
            };
            let deadline = now + Duration::from_secs(seconds);
            (waits.latest(now, Some(deadline))).map(|latest| (latest - now).as_millis())
        };
        assert_eq!(latest(30, 500), Some(29_500));
        assert_eq!(latest(2, 500), Some(1_500));
        assert_eq!(latest(2, 1_000), Some(1_500));
        assert_eq!(latest(2, 60_000), Some(1_500));
    }
}
