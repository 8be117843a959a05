use std::{hash::Hash, time::Duration};

use courteous_core::{InvalidSettings, ObserveOnly, RequestView};

use crate::{
    controller::Bounds,
    keyed::{Keyed, PerOrigin},
    limiter::AdaptiveLimiter,
    partition::Partition,
    settings::Waits,
    snapshot::AdaptiveSnapshot,
};

/// Learns how many attempts a server bears, and lets no more be in flight.
///
/// # Waiting
///
/// A call for which there is no permit waits. Calls with a deadline wait for at most three quarters
/// of the time left, or until an attempt timeout before the deadline, if that is later and the timeout
/// is [known](Self::with_attempt_timeout). The newest one is served first: what is sent has most of its
/// time before it.
/// Calls without a deadline wait for as long as it takes, oldest first. A call whose wait is over is
/// rejected with [`Overloaded`](courteous_core::RejectReason::Overloaded); nothing was sent.
///
/// # Sharing
///
/// Every service that this layer makes, every clone of such a service, and every clone of the layer
/// draws on the layer's limiters. `AdaptiveLimitLayer::from(limiter)` shares one with another stack.
#[derive(Clone, Debug)]
pub struct AdaptiveLimitLayer<P = AdaptiveLimiter> {
    pub(crate) partition: P,
    pub(crate) waits: Waits,
    pub(crate) observe: Option<ObserveOnly>,
}

impl AdaptiveLimitLayer {
    /// One limit for all requests: for a client of one server.
    #[must_use]
    pub fn new() -> Self {
        Self::of(AdaptiveLimiter::new())
    }

    /// Gives every key its own limiter, like this layer's. `key_of` says which key a request has.
    #[must_use]
    pub fn keyed_by<K, F>(self, key_of: F) -> AdaptiveLimitLayer<Keyed<K, F>>
    where
        K: Eq + Hash,
        F: Fn(RequestView<'_>) -> K,
    {
        AdaptiveLimitLayer {
            partition: Keyed::new(self.partition, key_of),
            waits: self.waits,
            observe: self.observe,
        }
    }

    /// Bounds the limit: it never goes below `min` nor above `max`. The defaults are 0 and 1,000.
    ///
    /// With a `min` of at least 1, attempts are never paced. A fleet of many processes with a call
    /// each then can not hold back.
    ///
    /// # Errors
    ///
    /// If `min` is negative, greater than `max` or no number, or `max` is less than 1.
    pub fn with_bounds(self, min: f64, max: f64) -> Result<Self, InvalidSettings> {
        if !(0.0..f64::INFINITY).contains(&min) {
            let rule = format!("{min} must be a number from 0 on");
            return Err(InvalidSettings::new("min", rule));
        }
        if !(1.0..=u32::MAX.into()).contains(&max) || max < min {
            let rule = format!("{max} must be at least 1, and at least the `min` of {min}");
            return Err(InvalidSettings::new("max", rule));
        }
        self.with(|bounds| (bounds.min, bounds.max) = (min, max));
        Ok(self)
    }

    /// Counts an answer as late from so many times the usual latency on. The default is 5, so that a
    /// server may become three times slower without being held back.
    ///
    /// # Errors
    ///
    /// If it is not a number greater than 1.
    pub fn with_tolerance(self, tolerance: f64) -> Result<Self, InvalidSettings> {
        if !(1.0 + f64::EPSILON..=1e6).contains(&tolerance) {
            let rule = format!("{tolerance} must be a number greater than 1");
            return Err(InvalidSettings::new("tolerance", rule));
        }
        self.with(|bounds| bounds.tolerance = tolerance);
        Ok(self)
    }

    /// States the attempt timeout further in. An answer then counts as late from 70 % of it on, if
    /// that is earlier than the tolerance says: so a queue is held below the timeout, even where the
    /// latency was first learned in a queue. A call with a deadline may then wait until so long before
    /// it. By default it is not known.
    #[must_use]
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.waits.attempt_timeout = Some(timeout);
        self.with(|bounds| bounds.attempt_timeout = Some(timeout.as_secs_f64()));
        self
    }

    fn with(&self, change: impl FnOnce(&mut Bounds)) {
        let mut bounds = self.partition.bounds();
        change(&mut bounds);
        self.partition.set_bounds(bounds);
    }
}

impl AdaptiveLimitLayer<PerOrigin> {
    /// A limit for each origin (scheme, host and port), like `template`'s.
    #[must_use]
    pub fn per_origin(template: impl Into<AdaptiveLimitLayer>) -> Self {
        let AdaptiveLimitLayer {
            partition,
            waits,
            observe,
        } = template.into();
        Self {
            partition: PerOrigin::per_origin(partition),
            waits,
            observe,
        }
    }
}

impl<P> AdaptiveLimitLayer<P> {
    /// Draws on `partition`: an [`AdaptiveLimiter`], [`Keyed`] ones, or a partition of your own.
    #[must_use]
    pub fn of(partition: P) -> Self {
        Self {
            partition,
            waits: Waits::default(),
            observe: None,
        }
    }

    /// Rejects a call that is not sent within `max_wait`. By default only the deadline bounds the
    /// wait, as said above. Zero rejects at once a call that is not admitted at once.
    #[must_use]
    pub fn with_max_wait(mut self, max_wait: Duration) -> Self {
        self.waits.max_wait = Some(max_wait);
        self
    }

    /// Rejects a call that would have to wait with `max_waiting` other calls (of its key). By default
    /// there is no bound.
    #[must_use]
    pub fn with_max_waiting(mut self, max_waiting: usize) -> Self {
        self.waits.max_waiting = Some(max_waiting);
        self
    }

    /// Serves calls with a deadline oldest first, too. While the server is overloaded, most of what is
    /// sent then has little time left.
    #[must_use]
    pub const fn oldest_first(mut self) -> Self {
        self.waits.oldest_first = true;
        self
    }

    /// Only observes: while the switch is on, every call is sent at once, and the limit is learned.
    /// `true` is a switch of the layer's own. The switch counts each call that would have waited
    /// ([`AdaptiveWait`](courteous_core::Decision::AdaptiveWait)) or would have been rejected at once
    /// ([`AdaptiveReject`](courteous_core::Decision::AdaptiveReject)).
    ///
    /// What the limit would have been with fewer attempts in flight is not known. So what is learned
    /// is a lower bound.
    #[must_use]
    pub fn observe_only(mut self, switch: impl Into<ObserveOnly>) -> Self {
        self.observe = Some(switch.into());
        self
    }

    /// The switch that says whether the layer only observes. `None` if it enforces.
    #[must_use]
    pub const fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.observe.as_ref()
    }

    /// The partition that the layer draws on.
    #[must_use]
    pub const fn partition(&self) -> &P {
        &self.partition
    }
}

impl<P: Partition> AdaptiveLimitLayer<P> {
    /// What is in force now, if the partition tells it: for a health check or a support ticket.
    #[must_use]
    pub fn snapshot(&self) -> Option<AdaptiveSnapshot> {
        self.partition.snapshot()
    }
}

impl Default for AdaptiveLimitLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl From<AdaptiveLimiter> for AdaptiveLimitLayer {
    fn from(limiter: AdaptiveLimiter) -> Self {
        Self::of(limiter)
    }
}
