use std::{fmt, hash::Hash, num::NonZeroUsize, time::Duration};

use courteous_core::{
    AsError, AsResponse, InvalidCount, ObserveOnly, Origin, Rejected, RequestView,
};
use http::Response;

use crate::{
    keyed::Limiters,
    limit_settings::LimitSettings,
    limiter::{Limiter, at_least_one},
    partition::Scope,
    settings::{HoldUntil, Settings},
    snapshot::LimitSnapshot,
};

/// Bounds the calls in flight.
///
/// By default a call waits as long as necessary, in a queue without bound, and is in flight until
/// its response body has ended.
///
/// # Sharing
///
/// Every service that this layer makes, and every clone of such a service, draws on the layer's
/// limiter. `ConcurrencyLimitLayer::from(limiter)` shares it with another stack, whatever that
/// stack's service is.
pub struct ConcurrencyLimitLayer<R = AsError, K = ()> {
    pub(crate) scope: Scope<K>,
    pub(crate) settings: Settings,
    pub(crate) reject: R,
    pub(crate) observe: Option<ObserveOnly>,
}

impl ConcurrencyLimitLayer {
    /// Admits `limit` calls at a time, whatever they are for. [`From`] takes a [`NonZeroUsize`].
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn new(limit: usize) -> Result<Self, InvalidCount> {
        Limiter::new(limit).map(Self::from)
    }
}

impl ConcurrencyLimitLayer<AsError, Origin> {
    /// Admits the same number of calls at a time to each origin (scheme, host and port).
    ///
    /// Takes [`Limiters`], which can be shared or read, or a
    /// [`NonZeroUsize`](std::num::NonZeroUsize):
    ///
    /// ```
    /// use courteous_concurrency::{ConcurrencyLimitLayer, Limiters};
    ///
    /// let limiters = Limiters::new(6)?;
    /// let layer = ConcurrencyLimitLayer::per_origin(limiters.clone());
    /// # drop(layer);
    /// assert_eq!(limiters.in_flight(), 0);
    /// # Ok::<_, courteous_concurrency::InvalidCount>(())
    /// ```
    #[must_use]
    pub fn per_origin(limiters: impl Into<Limiters<Origin>>) -> Self {
        let limiters = limiters.into();
        limiters.are_for_origins();
        Self::of(limiters, |request| request.origin())
    }
}

impl<R> ConcurrencyLimitLayer<R> {
    /// Admits the same number of calls at a time for each key, instead of that number in all. `key`
    /// makes the key of a request. See [`of`](ConcurrencyLimitLayer::of) for limiters that can be
    /// shared or read.
    ///
    /// ```
    /// use courteous_concurrency::ConcurrencyLimitLayer;
    /// use http::header::AUTHORIZATION;
    ///
    /// let layer = ConcurrencyLimitLayer::new(6)?
    ///     .keyed_by(|request| request.headers().get(AUTHORIZATION).cloned());
    /// # drop(layer);
    /// # Ok::<_, courteous_concurrency::InvalidCount>(())
    /// ```
    #[must_use]
    pub fn keyed_by<K, F>(self, key: F) -> ConcurrencyLimitLayer<R, K>
    where
        K: Hash + Eq,
        F: Fn(RequestView<'_>) -> K + Send + Sync + 'static,
    {
        ConcurrencyLimitLayer {
            scope: Scope::keyed(Limiters::from(self.scope.limit()), key),
            settings: self.settings,
            reject: self.reject,
            observe: self.observe,
        }
    }
}

impl<K: Hash + Eq> ConcurrencyLimitLayer<AsError, K> {
    /// Uses `limiters`. `key` makes the key of a request.
    #[must_use]
    pub fn of<F>(limiters: Limiters<K>, key: F) -> Self
    where
        F: Fn(RequestView<'_>) -> K + Send + Sync + 'static,
    {
        Self::with_scope(Scope::keyed(limiters, key))
    }

    /// Answers a rejected call with `response`, instead of failing it.
    ///
    /// The service's error is then the inner service's, unchanged:
    /// [`Infallible`](std::convert::Infallible) around an axum router.
    #[must_use]
    pub fn reject_with<F, B>(self, response: F) -> ConcurrencyLimitLayer<AsResponse<F>, K>
    where
        F: Fn(&Rejected) -> Response<B>,
    {
        ConcurrencyLimitLayer {
            scope: self.scope,
            settings: self.settings,
            reject: AsResponse::new(response),
            observe: self.observe,
        }
    }
}

impl<K> ConcurrencyLimitLayer<AsError, K> {
    fn with_scope(scope: Scope<K>) -> Self {
        Self {
            scope,
            settings: Settings::default(),
            reject: AsError,
            observe: None,
        }
    }
}

impl<R, K> ConcurrencyLimitLayer<R, K> {
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

    /// Applies the values that `settings` state. A limit is set as by
    /// [`set_limit`](Self::set_limit).
    #[must_use]
    pub fn with_settings(mut self, settings: &LimitSettings) -> Self {
        self.settings.max_wait = settings.max_wait.or(self.settings.max_wait);
        self.settings.max_waiting = settings.max_waiting.or(self.settings.max_waiting);
        if let Some(limit) = settings.limit {
            self.resize(limit);
        }
        self
    }

    /// All settings, as they are now.
    #[must_use]
    pub fn settings(&self) -> LimitSettings {
        LimitSettings {
            limit: Some(self.scope.limit()),
            max_wait: self.settings.max_wait,
            max_waiting: self.settings.max_waiting,
        }
    }

    /// Changes the limit from now on, for every stack that shares it: see [`Limiter::set_limit`] and [`Limiters::set_limit`].
    ///
    /// # Errors
    ///
    /// If `limit` is 0. The limit is then as it was.
    pub fn set_limit(&self, limit: usize) -> Result<(), InvalidCount> {
        at_least_one(limit).map(|limit| self.resize(limit))
    }

    fn resize(&self, limit: NonZeroUsize) {
        match &self.scope {
            Scope::One(limiter) => limiter.resize(limit),
            Scope::Keyed(keyed) => keyed.limiters().resize(limit),
        }
    }

    /// What is in force now, for a health check or a support ticket. See [`Limiters::snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> LimitSnapshot {
        self.scope.snapshot()
    }

    /// Sets how long a call is in flight. The default is [`HoldUntil::Body`]. A single request with
    /// [`LongLived`](courteous_core::LongLived) among its extensions uses [`HoldUntil::Headers`].
    #[must_use]
    pub fn hold_until(mut self, hold: HoldUntil) -> Self {
        self.settings.hold = hold;
        self
    }
}

impl From<Limiter> for ConcurrencyLimitLayer {
    fn from(limiter: Limiter) -> Self {
        Self::with_scope(Scope::One(limiter))
    }
}

impl From<NonZeroUsize> for ConcurrencyLimitLayer {
    fn from(limit: NonZeroUsize) -> Self {
        Self::from(Limiter::from(limit))
    }
}

impl<R: Clone, K> Clone for ConcurrencyLimitLayer<R, K> {
    fn clone(&self) -> Self {
        Self {
            scope: self.scope.clone(),
            settings: self.settings,
            reject: self.reject.clone(),
            observe: self.observe.clone(),
        }
    }
}

impl<R: fmt::Debug, K> fmt::Debug for ConcurrencyLimitLayer<R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimitLayer")
            .field("scope", &self.scope)
            .field("settings", &self.settings)
            .field("reject", &self.reject)
            .field("observe_only", &self.observe)
            .finish()
    }
}
