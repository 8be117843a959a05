use std::{fmt, hash::Hash, num::NonZeroU32, time::Duration};

use courteous_core::{LayerKind, ObserveOnly, Rejected, RequestView};
use http::{Response, StatusCode};
use tower_layer::Layer;

use crate::{
    AsError, AsResponse, Bucket, InvalidSettings, Keyed, Partition, PerOrigin, Rate, Throttle,
    ThrottleSettings, ThrottleSnapshot,
    config::{Config, Pacing},
};

/// Makes every call wait for its token, at a rate that all clones keep to together.
///
/// # Sharing
///
/// Every service that this layer makes, every clone of one, and every clone of the layer draw on the same bucket.
/// [`ThrottleLayer::from`] a bucket shares that with other stacks.
///
/// One layer keeps to several limits at once, such as requests *and* tokens, if its bucket does: see [`Bucket::joint`].
///
/// # Errors
///
/// A call that cannot be sent in time is refused with a [`Rejected`], in a [`BoxError`](courteous_core::BoxError), or as
/// [`reject_with`](Self::reject_with) says.
#[derive(Clone)]
pub struct ThrottleLayer<P = Bucket, R = AsError> {
    partition: P,
    refuse: R,
    config: Config,
    observe: Option<ObserveOnly>,
}

impl ThrottleLayer {
    /// Keeps to `rate`. Calls wait for their turn as long as it takes.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self::of(Bucket::new(rate))
    }
}

impl ThrottleLayer<PerOrigin> {
    /// Keeps to `rate` with each origin apart.
    #[must_use]
    pub fn per_origin(rate: Rate) -> Self {
        Self::of(Keyed::per_origin(Bucket::new(rate)))
    }
}

impl<P> ThrottleLayer<P> {
    /// Draws on `partition`: a [`Bucket`], [`Keyed`] buckets, or a store of somebody else's.
    #[must_use]
    pub const fn of(partition: P) -> Self {
        Self {
            partition,
            refuse: AsError,
            config: Config::DEFAULT,
            observe: None,
        }
    }
}

impl<R> ThrottleLayer<Bucket, R> {
    /// Gives every key a bucket of its own, like this layer's, with all its limits, instead of one for all. `key_of` says which
    /// key a request has. A cost that is addressed to a handle of this layer's bucket counts in the key's own.
    ///
    /// This layer's bucket is only the template then: to change the rate of every key, use
    /// [`Keyed::set_rate`] or [`Keyed::set_rate_on`] of the [`partition`](Self::partition), and not
    /// its own handles.
    #[must_use]
    pub fn keyed_by<K, F>(self, key_of: F) -> ThrottleLayer<Keyed<K, F>, R>
    where
        K: Eq + Hash,
        F: Fn(RequestView<'_>) -> K,
    {
        ThrottleLayer {
            partition: Keyed::new(self.partition, key_of),
            refuse: self.refuse,
            config: self.config,
            observe: self.observe,
        }
    }
}

impl<P, R> ThrottleLayer<P, R> {
    /// Refuses a call at once whose turn would come later than `max_wait` from now. The default is no limit but the call's
    /// own deadline; zero never waits.
    #[must_use]
    pub const fn with_max_wait(mut self, max_wait: Duration) -> Self {
        self.config.max_wait = Some(max_wait);
        self
    }

    /// Refuses a call at once if `max_waiting` others are in its queue. The default is no limit; zero is
    /// [`fail_fast`](Self::fail_fast).
    #[must_use]
    pub const fn with_max_waiting(mut self, max_waiting: usize) -> Self {
        self.config.max_waiting = max_waiting;
        self
    }

    /// Refuses a call at once that would have to wait, with
    /// [`AtCapacity`](courteous_core::RejectReason::AtCapacity), or [`Closed`](courteous_core::RejectReason::Closed).
    #[must_use]
    pub const fn fail_fast(self) -> Self {
        self.with_max_waiting(0)
    }

    /// Says what each request costs, in tokens of the first limit; a [`Cost`](crate::Cost) in its extensions goes before that.
    /// The default is 1.
    #[must_use]
    pub const fn with_cost(mut self, cost: fn(RequestView<'_>) -> NonZeroU32) -> Self {
        self.config.cost = Some(cost);
        self
    }

    /// Lets a server that refuses a request close a bucket for `max_pause` at most, whatever it says. The default is 24
    /// hours: servers that ask for two hours lock a client out for longer if it comes back before. A call that cannot wait
    /// that long is refused at once, and told when to come again. A retry outside is told what the server said.
    #[must_use]
    pub const fn with_max_pause(mut self, max_pause: Duration) -> Self {
        self.config.hints.max_pause = max_pause;
        self
    }

    /// Lets a used-up quota hold up calls for `max_quota_pause` at most, if the response that told of it was no refusal. The
    /// default is 5 minutes: the server has not refused anything yet. It is never more than
    /// [`with_max_pause`](Self::with_max_pause) says.
    ///
    /// A quota that is reset later than that is not spread over the time left.
    #[must_use]
    pub const fn with_max_quota_pause(mut self, max_quota_pause: Duration) -> Self {
        self.config.hints.max_quota_pause = max_quota_pause;
        self
    }

    /// Spreads what remains of a server's quota over the time until its reset, if that is within
    /// [`with_max_quota_pause`](Self::with_max_quota_pause). The default is to do so only if the bucket has a rate:
    /// [`Rate::UNLIMITED`] asks for no slower client.
    #[must_use]
    pub const fn with_pacing(mut self) -> Self {
        self.config.hints.pacing = Pacing::Always;
        self
    }

    /// Never spreads a server's quota over the time until its reset. One that is used up still holds up calls.
    #[must_use]
    pub const fn without_pacing(mut self) -> Self {
        self.config.hints.pacing = Pacing::Never;
        self
    }

    /// Heeds the refusals of responses whose status is `heeded`, and no others. The default is every
    /// [`Refusal`](courteous_classify::Refusal): a 429, any other 4xx or 5xx with `Retry-After` or one of its kin, and a 403 or 418
    /// of a quota that is used up.
    ///
    /// ```
    /// # use courteous_throttle::{Rate, ThrottleLayer};
    /// // This server says by 503 that one of its own servers is gone.
    /// ThrottleLayer::new(Rate::UNLIMITED).with_refusals(|status| status != 503);
    /// ```
    #[must_use]
    pub const fn with_refusals(mut self, heeded: fn(StatusCode) -> bool) -> Self {
        self.config.hints.heeds = Some(heeded);
        self
    }

    /// Does not listen to what responses say about waiting.
    #[must_use]
    pub const fn without_hints(mut self) -> Self {
        self.config.listens = false;
        self
    }

    /// Answers a refused call with a response, so that the error type stays that of the inner service: `Infallible`, on a
    /// server.
    #[must_use]
    pub fn reject_with<F, B>(self, respond: F) -> ThrottleLayer<P, AsResponse<F>>
    where
        F: Fn(&Rejected) -> Response<B>,
    {
        ThrottleLayer {
            partition: self.partition,
            refuse: AsResponse::new(respond),
            config: self.config,
            observe: self.observe,
        }
    }

    /// Only observes: every call is sent at once, while the switch is on. `true` is a switch of the layer's own; `false` enforces,
    /// also in a stack that only observes. The default is to enforce.
    ///
    /// Each call that would have waited is counted as [`Decision::ThrottleWait`](courteous_core::Decision::ThrottleWait), with its
    /// wait, and each that would have been rejected as [`Decision::ThrottleReject`](courteous_core::Decision::ThrottleReject); an
    /// event tells each of them. It is judged by virtual tokens, which a call takes at the instant at which it would have been sent.
    /// So its wait is what it would have been behind the calls before it:
    ///
    /// - 10 calls at once, at 1 per second, are told 0 s, 1 s, 2 s, and so on. A call that would have been rejected takes no tokens;
    /// - a wait is told as it is expected when the call comes. Calls that would have given up would have made others wait for less;
    /// - a server that refuses closes the bucket virtually, and its quotas hold up virtual calls.
    ///   There is no [`Gate`](courteous_core::Gate) for a retry outside, which reads the server's
    ///   hint itself. A call that would wait for a quota that the server names is not followed any
    ///   further, and neither is one behind 1,000 others (some 100 KB for each bucket with such a
    ///   crowd): it is told the wait behind those, and takes no tokens;
    /// - the estimate of a cost stands, as the response has nothing to settle it by.
    ///
    /// Calls of a stack that enforces, on the same bucket, are sent as without it. While there are
    /// virtual calls, each of them takes the bucket's lock, and sends those virtually whose turn
    /// has come. A [`Store`](crate::Store) of another kind than [`Bucket`] tells nothing, unless it
    /// is [able to](crate::Store::observed): its calls pass.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use courteous_core::{Decision, ObserveOnly};
    /// use courteous_throttle::{Rate, ThrottleLayer};
    /// # use http::{Request, Response};
    /// # use tower::{Layer, ServiceExt};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # let client = tower::service_fn(async |_: Request<()>| Ok::<_, std::io::Error>(Response::new(())));
    /// let switch = ObserveOnly::new();
    /// let layer = ThrottleLayer::new(Rate::per_second(1.0)?).observe_only(switch.clone());
    /// let client = layer.layer(client);
    /// for _ in 0..3 {
    ///     client.clone().oneshot(Request::new(())).await?; // sent at once
    /// }
    /// assert_eq!(switch.count(Decision::ThrottleWait), 2);
    /// assert_eq!(switch.longest_wait(Decision::ThrottleWait), Duration::from_secs(2));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn observe_only(mut self, switch: impl Into<ObserveOnly>) -> Self {
        self.observe = Some(switch.into());
        self
    }

    /// The switch that says whether the layer only observes. `None`: it enforces.
    #[must_use]
    pub const fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.observe.as_ref()
    }

    /// What the layer draws on.
    #[must_use]
    pub const fn partition(&self) -> &P {
        &self.partition
    }
}

impl<P: Partition, R> ThrottleLayer<P, R> {
    /// The same with what `settings` state. Rates are set as by [`set_rates`](Self::set_rates).
    ///
    /// # Errors
    ///
    /// As [`set_rates`](Self::set_rates).
    pub fn with_settings(mut self, settings: &ThrottleSettings) -> Result<Self, InvalidSettings> {
        if let Some(rates) = &settings.rates {
            self.set_rates(rates)?;
        }
        let Config { hints, .. } = &mut self.config;
        hints.max_pause = settings.max_pause.unwrap_or(hints.max_pause);
        hints.max_quota_pause = settings.max_quota_pause.unwrap_or(hints.max_quota_pause);
        self.config.max_wait = settings.max_wait.or(self.config.max_wait);
        self.config.max_waiting = settings.max_waiting.unwrap_or(self.config.max_waiting);
        Ok(self)
    }

    /// All settings, as they are now.
    #[must_use]
    pub fn settings(&self) -> ThrottleSettings {
        self.config.settings(self.partition.rates())
    }

    /// Goes on at `rates` from now on, for every stack that draws on the same tokens: see [`Bucket::set_rates`].
    ///
    /// # Errors
    ///
    /// If there is no rate, or if the [partition](Partition::set_rates) cannot have these: one in Redis has one rate, and one
    /// of somebody else's may have none. Then nothing has changed.
    pub fn set_rates(&self, rates: &[Rate]) -> Result<(), InvalidSettings> {
        if rates.is_empty() {
            return Err(InvalidSettings::new(
                "rates",
                "there must be at least one rate",
            ));
        }
        let set = self.partition.set_rates(rates);
        set.map_err(|error| InvalidSettings::new("rates", error.to_string()))
    }

    /// What is in force now, if the partition tells: for a health check, or a support ticket. See [`Partition::snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> Option<ThrottleSnapshot> {
        self.partition.snapshot()
    }
}

impl From<Bucket> for ThrottleLayer {
    fn from(bucket: Bucket) -> Self {
        Self::of(bucket)
    }
}

impl<K, F> From<Keyed<K, F>> for ThrottleLayer<Keyed<K, F>> {
    fn from(keyed: Keyed<K, F>) -> Self {
        Self::of(keyed)
    }
}

impl<S, P: Clone, R: Clone> Layer<S> for ThrottleLayer<P, R> {
    type Service = Throttle<S, P, R>;

    fn layer(&self, inner: S) -> Self::Service {
        LayerKind::Throttle.check_order::<S>();
        Throttle::new(
            inner,
            self.partition.clone(),
            self.refuse.clone(),
            self.config,
            self.observe.clone(),
        )
    }
}

impl<P: fmt::Debug, R> fmt::Debug for ThrottleLayer<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleLayer")
            .field("partition", &self.partition)
            .field("config", &self.config)
            .field("observe_only", &self.observe)
            .finish_non_exhaustive()
    }
}
