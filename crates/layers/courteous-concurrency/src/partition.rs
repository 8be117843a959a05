use std::num::NonZeroUsize;

use courteous_core::{InvalidSettings, RequestView};

use crate::{limiter::Limiter, snapshot::LimitSnapshot};

/// Chooses the limiter that a request uses.
///
/// A [`Limiter`] chooses itself, for all requests. [`Keyed`](crate::Keyed) has a limiter for each
/// key, such as each origin or each credential. This one has two limiters of different sizes:
///
/// ```
/// use courteous_concurrency::{ConcurrencyLimitLayer, Limiter, Partition};
/// use courteous_core::RequestView;
///
/// #[derive(Clone)]
/// struct BySize {
///     uploads: Limiter,
///     others: Limiter,
/// }
///
/// impl Partition for BySize {
///     fn select(&self, head: RequestView<'_>) -> Limiter {
///         match head.uri().path().starts_with("/upload/") {
///             true => self.uploads.clone(),
///             false => self.others.clone(),
///         }
///     }
/// }
///
/// let (uploads, others) = (Limiter::new(4)?, Limiter::new(64)?);
/// let layer = ConcurrencyLimitLayer::of(BySize { uploads, others });
/// # drop(layer);
/// # Ok::<_, courteous_concurrency::InvalidCount>(())
/// ```
pub trait Partition {
    /// The limiter that the request with this `head` uses. Never fails: a keyed partition whose
    /// memory is used up lets requests share a limiter.
    fn select(&self, head: RequestView<'_>) -> Limiter;

    /// What is in force now, for a health check or a support ticket. The default tells nothing.
    fn snapshot(&self) -> Option<LimitSnapshot> {
        None
    }

    /// How many calls may be in flight at a time, for each key separately. The default asks for a
    /// [`snapshot`](Self::snapshot).
    fn limit(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.snapshot()?.limit)
    }

    /// Changes the limit from now on, for all requests.
    ///
    /// # Errors
    ///
    /// If the partition cannot have this limit; then nothing has changed. The default rejects every
    /// limit.
    fn set_limit(&self, limit: NonZeroUsize) -> Result<(), InvalidSettings> {
        let _ = limit;
        let rule = "the limit of this partition cannot be set";
        Err(InvalidSettings::new("limit", rule))
    }

    /// How many calls are in flight or wait, for a balancer that judges by load. The default asks
    /// for a [`snapshot`](Self::snapshot), and says 0 if there is none.
    fn load(&self) -> usize {
        let calls = |snapshot: LimitSnapshot| snapshot.in_flight + snapshot.waiting;
        self.snapshot().map_or(0, calls)
    }
}

impl Partition for Limiter {
    #[inline]
    fn select(&self, _: RequestView<'_>) -> Limiter {
        self.clone()
    }

    fn snapshot(&self) -> Option<LimitSnapshot> {
        Some(Self::snapshot(self))
    }

    fn limit(&self) -> Option<NonZeroUsize> {
        Some(Self::limit(self))
    }

    fn set_limit(&self, limit: NonZeroUsize) -> Result<(), InvalidSettings> {
        self.resize(limit);
        Ok(())
    }

    fn load(&self) -> usize {
        let (in_flight, waiting) = self.calls();
        in_flight + waiting
    }
}
