use std::{fmt, hash::Hash, num::NonZeroUsize, time::Duration};

use courteous_core::{
    AsError, AsResponse, InvalidCount, InvalidSettings, ObserveOnly, Rejected, RequestView,
};
use http::Response;

use crate::{
    keyed::{Keyed, PerOrigin},
    limit_settings::LimitSettings,
    limiter::Limiter,
    partition::Partition,
    settings::{HoldUntil, Settings},
    snapshot::LimitSnapshot,
};

/// Bounds the calls in flight.
///
/// By default a call waits as long as necessary, in a queue without bound, and is in flight until
/// its response body has ended.
///
/// # Waiting
///
/// Calls with a deadline are admitted newest first: while a queue is longer than the callers'
/// patience, oldest first would give every permit to a call that is about to give up. Calls without
/// a deadline cannot give up, and are admitted oldest first, so that none waits for ever. While both
/// kinds wait, they take turns. [`oldest_first`](Self::oldest_first) changes the first.
///
/// # Sharing
///
/// Every service that this layer makes, every clone of such a service, and every clone of the layer
/// draws on the layer's limiter. `ConcurrencyLimitLayer::from(limiter)` shares it with another
/// stack, whatever that stack's service is.
#[derive(Clone)]
pub struct ConcurrencyLimitLayer<P = Limiter, R = AsError> {
    pub(crate) partition: P,
    pub(crate) reject: R,
    pub(crate) settings: Settings,
    pub(crate) observe: Option<ObserveOnly>,
}

impl ConcurrencyLimitLayer {
    /// Admits `limit` calls at a time, whatever they are for. [`From`] takes a [`NonZeroUsize`].
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn new(limit: usize) -> Result<Self, InvalidCount> {
        Limiter::new(limit).map(Self::of)
    }
}

impl ConcurrencyLimitLayer<PerOrigin> {
    /// Admits `limit` calls at a time to each origin (scheme, host and port). [`From`] takes
    /// [`PerOrigin`] limiters, which can be shared or read.
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn per_origin(limit: usize) -> Result<Self, InvalidCount> {
        let limiter = Limiter::new(limit)?;
        Ok(Self::of(Keyed::per_origin(limiter)))
    }
}

impl<P> ConcurrencyLimitLayer<P> {
    /// Draws on `partition`: a [`Limiter`], [`Keyed`] limiters, or a partition of your own.
    #[must_use]
    pub fn of(partition: P) -> Self {
        Self {
            partition,
            reject: AsError,
            settings: Settings::default(),
            observe: None,
        }
    }
}

impl<R> ConcurrencyLimitLayer<Limiter, R> {
    /// Gives every key its own limiter, instead of one limiter for all. Each is like this layer's
    /// limiter. `key_of` says which key a request has.
    ///
    /// This layer's limiter is then only the template. To change the limit of every key, use
    /// [`set_limit`](Self::set_limit), and not the handles of the template.
    ///
    /// ```
    /// use courteous_concurrency::ConcurrencyLimitLayer;
    /// use http::header::AUTHORIZATION;
    ///
    /// let layer = ConcurrencyLimitLayer::new(6)?
    ///     .keyed_by(|head| head.headers().get(AUTHORIZATION).cloned());
    /// # drop(layer);
    /// # Ok::<_, courteous_concurrency::InvalidCount>(())
    /// ```
    #[must_use]
    pub fn keyed_by<K, F>(self, key_of: F) -> ConcurrencyLimitLayer<Keyed<K, F>, R>
    where
        K: Eq + Hash,
        F: Fn(RequestView<'_>) -> K,
    {
        ConcurrencyLimitLayer {
            partition: Keyed::new(self.partition, key_of),
            reject: self.reject,
            settings: self.settings,
            observe: self.observe,
        }
    }
}

impl<P, R> ConcurrencyLimitLayer<P, R> {
    /// Rejects a call that is not sent within `max_wait`, with
    /// [`MaxWait`](courteous_core::RejectReason::MaxWait). By default only the call's deadline
    /// bounds the wait.
    ///
    /// The time is counted from the call, and covers everything that the call waits for here: a
    /// permit, and the inner service's readiness. Zero rejects at once a call that is not admitted
    /// at once. A wait whose end is beyond the clock's range has no bound.
    #[must_use]
    pub fn with_max_wait(mut self, max_wait: Duration) -> Self {
        self.settings.max_wait = Some(max_wait);
        self
    }

    /// Rejects a call that would have to wait with `max_waiting` other calls (of its key), with
    /// [`QueueFull`](courteous_core::RejectReason::QueueFull). By default there is no bound. Zero
    /// is [`fail_fast`](Self::fail_fast).
    ///
    /// All calls that wait at the limiter are counted, also the calls of other stacks.
    #[must_use]
    pub fn with_max_waiting(mut self, max_waiting: usize) -> Self {
        self.settings.max_waiting = Some(max_waiting);
        self
    }

    /// Rejects a call that would have to wait, with
    /// [`AtCapacity`](courteous_core::RejectReason::AtCapacity).
    ///
    /// Only this limit counts: a call is never rejected because the inner service or the runtime
    /// makes it wait.
    #[must_use]
    pub fn fail_fast(self) -> Self {
        self.with_max_waiting(0)
    }

    /// Admits calls with a deadline oldest first, too. Then the calls of one kind never overtake each
    /// other. But while the limit is below the need, most of what is sent has little time left.
    #[must_use]
    pub const fn oldest_first(mut self) -> Self {
        self.settings.oldest_first = true;
        self
    }

    /// Only observes: while the switch is on, every call is sent at once. `true` is a switch of the
    /// layer's own; `false` enforces, even in a stack that only observes. The default is to
    /// enforce.
    ///
    /// The switch counts each call that finds the limit full, and an event reports it:
    ///
    /// - as [`ConcurrencyWait`](courteous_core::Decision::ConcurrencyWait) if it would have waited.
    ///   It takes a permit beyond the limit, so [`Limiter::in_flight`] may exceed
    ///   [`Limiter::limit`]. It is not known how long the call would have waited, as the calls
    ///   before it would have started later, too. So it is not known either whether
    ///   [`with_max_wait`](Self::with_max_wait) or the call's deadline would have ended that wait;
    /// - as [`ConcurrencyReject`](courteous_core::Decision::ConcurrencyReject) if it would have
    ///   been rejected at once, as the calls beyond the limit fill the queue. It takes no permit.
    ///
    /// Calls beyond the limit also count for other stacks that share the limiter. So share a
    /// limiter only between stacks of one mode.
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

    /// Sets how long a call is in flight. The default is [`HoldUntil::Body`]. A single request with
    /// [`LongLived`](courteous_core::LongLived) among its extensions uses [`HoldUntil::Headers`].
    #[must_use]
    pub fn hold_until(mut self, hold: HoldUntil) -> Self {
        self.settings.hold = hold;
        self
    }

    /// Answers a rejected call with `response`, instead of failing it.
    ///
    /// The service's error is then the inner service's, unchanged:
    /// [`Infallible`](std::convert::Infallible) around an axum router.
    #[must_use]
    pub fn reject_with<F, B>(self, response: F) -> ConcurrencyLimitLayer<P, AsResponse<F>>
    where
        F: Fn(&Rejected) -> Response<B>,
    {
        ConcurrencyLimitLayer {
            partition: self.partition,
            reject: AsResponse::new(response),
            settings: self.settings,
            observe: self.observe,
        }
    }

    /// The partition that the layer draws on.
    #[must_use]
    pub const fn partition(&self) -> &P {
        &self.partition
    }
}

impl<P: Partition, R> ConcurrencyLimitLayer<P, R> {
    /// Applies the values that `settings` state. A limit is set as by
    /// [`set_limit`](Self::set_limit).
    ///
    /// # Errors
    ///
    /// The same as those of [`set_limit`](Self::set_limit).
    pub fn with_settings(mut self, settings: &LimitSettings) -> Result<Self, InvalidSettings> {
        if let Some(limit) = settings.limit {
            self.partition.set_limit(limit)?;
        }
        self.settings.max_wait = settings.max_wait.or(self.settings.max_wait);
        self.settings.max_waiting = settings.max_waiting.or(self.settings.max_waiting);
        Ok(self)
    }

    /// All settings, as they are now.
    #[must_use]
    pub fn settings(&self) -> LimitSettings {
        LimitSettings {
            limit: self.partition.limit(),
            max_wait: self.settings.max_wait,
            max_waiting: self.settings.max_waiting,
        }
    }

    /// Changes the limit from now on, for every stack that shares it: see [`Limiter::set_limit`]
    /// and [`Keyed::set_limit`].
    ///
    /// # Errors
    ///
    /// If `limit` is 0, or if the [partition](Partition::set_limit) cannot have this limit. One of
    /// your own may have none. The limit is then as it was.
    pub fn set_limit(&self, limit: usize) -> Result<(), InvalidSettings> {
        match NonZeroUsize::new(limit) {
            Some(limit) => self.partition.set_limit(limit),
            None => Err(InvalidSettings::new("limit", "must be at least 1, not 0")),
        }
    }

    /// What is in force now, if the partition tells it: for a health check or a support ticket. See
    /// [`Partition::snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> Option<LimitSnapshot> {
        self.partition.snapshot()
    }
}

impl From<Limiter> for ConcurrencyLimitLayer {
    fn from(limiter: Limiter) -> Self {
        Self::of(limiter)
    }
}

impl From<NonZeroUsize> for ConcurrencyLimitLayer {
    fn from(limit: NonZeroUsize) -> Self {
        Self::of(Limiter::from(limit))
    }
}

impl<K, F> From<Keyed<K, F>> for ConcurrencyLimitLayer<Keyed<K, F>> {
    fn from(keyed: Keyed<K, F>) -> Self {
        Self::of(keyed)
    }
}

impl<P: fmt::Debug, R: fmt::Debug> fmt::Debug for ConcurrencyLimitLayer<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimitLayer")
            .field("partition", &self.partition)
            .field("settings", &self.settings)
            .field("reject", &self.reject)
            .field("observe_only", &self.observe)
            .finish()
    }
}
