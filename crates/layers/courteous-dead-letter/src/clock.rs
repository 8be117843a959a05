use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// The wall clock for records. Records outlive the process, and Tokio's clock does not.
///
/// No wait depends on this clock, so a step of the wall clock delays nothing.
///
/// # Sharing
///
/// Clones of a fixed clock are the same clock.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
///
/// use courteous_dead_letter::Clock;
///
/// let clock = Clock::fixed(UNIX_EPOCH);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), UNIX_EPOCH + Duration::from_secs(60));
/// ```
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<Fixed>>);

struct Fixed {
    start: SystemTime,
    advanced: Mutex<Duration>,
}

impl Clock {
    /// The system's wall clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still at `start` until it is [advanced](Self::advance), for tests.
    #[must_use]
    pub fn fixed(start: SystemTime) -> Self {
        let advanced = Mutex::new(Duration::ZERO);
        Self(Some(Arc::new(Fixed { start, advanced })))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            None => system_now(),
            Some(fixed) => later(fixed.start, self.advanced()),
        }
    }

    /// Moves a fixed clock forward, for all its clones. The system's clock is not moved.
    pub fn advance(&self, by: Duration) {
        if let Some(fixed) = &self.0 {
            let mut advanced = fixed
                .advanced
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *advanced = advanced.saturating_add(by);
        }
    }

    /// How far the clock was [advanced](Self::advance); zero for the system's clock. A store that
    /// uses another clock, such as a database's, adds this to that clock.
    #[must_use]
    pub fn advanced(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |fixed| {
            *fixed
                .advanced
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        })
    }

    /// The wall-clock time of `instant`, if both clocks have run alike since then, or will until
    /// then.
    #[must_use]
    pub fn at(&self, instant: Instant) -> SystemTime {
        let (now, wall) = (Instant::now(), self.now());
        match now.checked_duration_since(instant) {
            Some(ago) => wall
                .checked_sub(ago)
                .map_or(UNIX_EPOCH, |then| then.max(UNIX_EPOCH)),
            None => later(wall, instant.saturating_duration_since(now)),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Clock");
        f.field("fixed", &self.0.is_some()).finish()
    }
}

/// `time` + `by`, or the last microsecond that all stores can hold.
#[must_use]
pub fn later(time: SystemTime, by: Duration) -> SystemTime {
    let end = end();
    time.checked_add(by).map_or(end, |sum| sum.min(end))
}

/// `i64::MAX` microseconds after the epoch, in the year 294247.
pub(crate) fn end() -> SystemTime {
    let since = Duration::from_micros(i64::MAX.unsigned_abs());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads the wall clock"
)]
fn system_now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn clones_of_a_fixed_clock_are_the_same_clock() {
        let clock = Clock::fixed(UNIX_EPOCH);
        let clone = clock.clone();
        clone.advance(SECOND);
        assert_eq!(
            (clock.now(), clock.advanced()),
            (UNIX_EPOCH + SECOND, SECOND)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_instant_has_its_time_before_and_after_now() {
        let clock = Clock::fixed(UNIX_EPOCH + 60 * SECOND);
        let now = Instant::now();
        assert_eq!(clock.at(now + SECOND), UNIX_EPOCH + 61 * SECOND);
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(clock.at(now), UNIX_EPOCH + 58 * SECOND);
        assert_eq!(Clock::fixed(UNIX_EPOCH).at(now), UNIX_EPOCH);
    }

    #[test]
    fn time_ends_where_stores_end() {
        assert_eq!(later(UNIX_EPOCH, Duration::MAX), end());
        let clock = Clock::fixed(end());
        clock.advance(Duration::MAX);
        clock.advance(SECOND);
        assert_eq!(clock.now(), end());
    }
}
