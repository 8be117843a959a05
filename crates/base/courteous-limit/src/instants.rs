use std::time::Duration;

use tokio::time::Instant;

/// Added to an instant, it gives one that stands for all that are too far away to be told.
const FAR: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// Returns `wait` after `at`. If that is too far away to be told, a hundred years after `at`.
#[must_use]
pub fn later(at: Instant, wait: Duration) -> Instant {
    at.checked_add(wait)
        .or_else(|| at.checked_add(FAR))
        .unwrap_or(at)
}

/// Returns the earlier of two instants, of those that there are.
#[must_use]
pub fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
