use courteous_core::RequestView;

use crate::{limiter::AdaptiveLimiter, snapshot::AdaptiveSnapshot};

/// Chooses the limiter that a request uses.
///
/// An [`AdaptiveLimiter`] chooses itself, for all requests. [`Keyed`](crate::Keyed) has a limiter
/// for each key, such as each origin.
pub trait Partition {
    /// The limiter that the request with this `head` uses. Never fails: a keyed partition whose
    /// memory is used up lets requests share a limiter.
    fn select(&self, head: RequestView<'_>) -> AdaptiveLimiter;

    /// What is in force now, for a health check or a support ticket. The default tells nothing.
    fn snapshot(&self) -> Option<AdaptiveSnapshot> {
        None
    }
}

impl Partition for AdaptiveLimiter {
    #[inline]
    fn select(&self, _: RequestView<'_>) -> AdaptiveLimiter {
        self.clone()
    }

    fn snapshot(&self) -> Option<AdaptiveSnapshot> {
        Some(Self::snapshot(self))
    }
}
