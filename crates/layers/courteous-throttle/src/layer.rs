use std::{fmt, hash::Hash, num::NonZeroU32, time::Duration};

use courteous_core::{LayerKind, ObserveOnly, Rejected, RequestView};
use http::{Response, StatusCode};
use tower_layer::Layer;

use crate::{
    AsError, AsResponse, Bucket, InvalidSettings, Keyed, Partition, PerOrigin, Rate, Throttle,
    ThrottleSettings, ThrottleSnapshot,
    pause::Pause,
    settings::{Pacing, Settings},
};

/// Makes every call wait for its token. All clones together keep to the rate.
///
/// # Sharing
///
/// All services that this layer makes, their clones, and all clones of the layer draw on the same
/// bucket. A layer that is made by [`ThrottleLayer::from`] a bucket shares that bucket with other
/// stacks.
///
/// One layer keeps to several limits at once, such as requests *and* tokens, if its bucket has
/// them: see [`Bucket::joint`].
///
/// # Errors
///
/// A call that cannot be sent in time is rejected with a [`Rejected`], in a
/// [`BoxError`](courteous_core::BoxError), or as [`reject_with`](Self::reject_with) says.
#[derive(Clone)]
pub struct ThrottleLayer<P = Bucket, R = AsError> {
    partition: P,
    reject: R,
    settings: Settings,
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
    /// Keeps to `rate` for each origin separately.
    #[must_use]
    pub fn per_origin(rate: Rate) -> Self {
        Self::of(Keyed::per_origin(Bucket::new(rate)))
    }
}

impl<P> ThrottleLayer<P> {
    /// Draws on `partition`: a [`Bucket`], [`Keyed`] buckets, or another store.
    #[must_use]
    pub const fn of(partition: P) -> Self {
        Self {
            partition,
            reject: AsError,
            settings: Settings::DEFAULT,
            observe: None,
        }
    }
}

impl<R> ThrottleLayer<Bucket, R> {
    /// Gives every key a bucket of its own, instead of one bucket for all. Each is like this
    /// layer's bucket, with all its limits. `key_of` says which key a request has. If a cost is
    /// addressed to a handle of this layer's bucket, it counts in the key's own bucket.
    ///
    /// This layer's bucket is then only the template. To change the rate of every key, use
    /// [`Keyed::set_rate`] or [`Keyed::set_rate_on`] of the [`partition`](Self::partition), and not
    /// the handles of the template.
    #[must_use]
    pub fn keyed_by<K, F>(self, key_of: F) -> ThrottleLayer<Keyed<K, F>, R>
    where
        K: Eq + Hash,
        F: Fn(RequestView<'_>) -> K,
    {
        ThrottleLayer {
            partition: Keyed::new(self.partition, key_of),
            reject: self.reject,
            settings: self.settings,
            observe: self.observe,
        }
    }
}

impl<P, R> ThrottleLayer<P, R> {
    /// Rejects a call at once if its turn would come later than `max_wait` from now. By default,
    /// only the call's own deadline limits its wait. With zero, no call waits.
    #[must_use]
    pub const fn with_max_wait(mut self, max_wait: Duration) -> Self {
        self.settings.max_wait = Some(max_wait);
        self
    }

    /// Rejects a call at once if `max_waiting` others are in its queue. The default is no limit.
    /// Zero is the same as [`fail_fast`](Self::fail_fast).
    #[must_use]
    pub const fn with_max_waiting(mut self, max_waiting: usize) -> Self {
        self.settings.max_waiting = max_waiting;
        self
    }

    /// Rejects a call at once if it would have to wait. The reason is
    /// [`AtCapacity`](courteous_core::RejectReason::AtCapacity), or
    /// [`Paused`](courteous_core::RejectReason::Paused).
    #[must_use]
    pub const fn fail_fast(self) -> Self {
        self.with_max_waiting(0)
    }

    /// Sets what each request costs, in tokens of the first limit. A [`Cost`](crate::Cost) in the
    /// request's extensions takes precedence. The default is 1.
    #[must_use]
    pub const fn with_cost(mut self, cost: fn(RequestView<'_>) -> NonZeroU32) -> Self {
        self.settings.cost = Some(cost);
        self
    }

    /// Limits for how long a refusal of the server can close a bucket: `max_pause` at most,
    /// whatever the server says.
    ///
    /// The default is 24 hours. It is that long because a server that asks for two hours locks out
    /// a client that comes back earlier, for even longer. A call that cannot wait that long is
    /// rejected at once, and told when to come again. A retry outside is told what the server said.
    #[must_use]
    pub const fn with_max_pause(mut self, max_pause: Duration) -> Self {
        self.settings.hints.max_pause = Pause::new(max_pause);
        self
    }

    /// Limits for how long a used-up quota can hold up calls: `max_quota_pause` at most, if the
    /// response that told of it was no refusal.
    ///
    /// The default is 5 minutes, because the server has not refused anything yet. The pause is
    /// never longer than [`with_max_pause`](Self::with_max_pause) allows.
    ///
    /// If a quota is reset later than `max_quota_pause`, it is not spread over the time until its
    /// reset.
    #[must_use]
    pub const fn with_max_quota_pause(mut self, max_quota_pause: Duration) -> Self {
        self.settings.hints.max_quota_pause = Pause::new(max_quota_pause);
        self
    }

    /// Spreads what remains of a server's quota over the time until its reset, if that is within
    /// [`with_max_quota_pause`](Self::with_max_quota_pause). By default, this is done only if the
    /// bucket has a rate: [`Rate::UNLIMITED`] asks for no slower client.
    #[must_use]
    pub const fn with_pacing(mut self) -> Self {
        self.settings.hints.pacing = Pacing::Always;
        self
    }

    /// Never spreads a server's quota over the time until its reset. A quota that is used up still
    /// holds up calls.
    #[must_use]
    pub const fn without_pacing(mut self) -> Self {
        self.settings.hints.pacing = Pacing::Never;
        self
    }

    /// Heeds only refusals whose status is `heeded`. The default is every
    /// [`Refusal`](courteous_core::Refusal): a 429, any other 4xx or 5xx with `Retry-After` or
    /// a similar field, and a 403 or 418 of a quota that is used up.
    ///
    /// ```
    /// # use courteous_throttle::{Rate, ThrottleLayer};
    /// // This server says by 503 that one of its own servers is gone.
    /// ThrottleLayer::new(Rate::UNLIMITED).with_refusals(|status| status != 503);
    /// ```
    #[must_use]
    pub const fn with_refusals(mut self, heeded: fn(StatusCode) -> bool) -> Self {
        self.settings.hints.heeds = Some(heeded);
        self
    }

    /// Ignores what responses say about waiting.
    #[must_use]
    pub const fn without_hints(mut self) -> Self {
        self.settings.listens = false;
        self
    }

    /// Answers a rejected call with a response. So the error type stays that of the inner service,
    /// such as `Infallible` on a server.
    #[must_use]
    pub fn reject_with<F, B>(self, respond: F) -> ThrottleLayer<P, AsResponse<F>>
    where
        F: Fn(&Rejected) -> Response<B>,
    {
        ThrottleLayer {
            partition: self.partition,
            reject: AsResponse::new(respond),
            settings: self.settings,
            observe: self.observe,
        }
    }

    /// Only observes: while the switch is on, every call is sent at once.
    ///
    /// `true` stands for a switch of the layer's own. `false` enforces, even in a stack that only
    /// observes. The default is to enforce.
    ///
    /// Each call that would have waited is counted as
    /// [`Decision::ThrottleWait`](courteous_core::Decision::ThrottleWait), with its wait. Each call
    /// that would have been rejected is counted as
    /// [`Decision::ThrottleReject`](courteous_core::Decision::ThrottleReject). An event tells of
    /// each of them.
    ///
    /// Calls are judged by virtual tokens. A call takes its virtual tokens at the instant at which
    /// it would have been sent. So its wait is what it would have been behind the calls before it:
    ///
    /// - 10 calls at once, at 1 per second, are told 0 s, 1 s, 2 s, and so on. A call that would
    ///   have been rejected takes no tokens;
    /// - a wait is told as it is expected when the call comes. It does not consider that an earlier
    ///   call might give up, which would shorten the real wait;
    /// - a server that refuses closes the bucket virtually, and its quotas hold up virtual calls.
    ///   No [`Gate`](courteous_core::Gate) is made for a retry outside, which reads the server's
    ///   hint itself;
    /// - a call that would wait for a quota that the server names is not followed any further.
    ///   Neither is a call behind 1,000 others: it is told the wait behind those, and takes no
    ///   tokens. Such a crowd takes some 100 KB for each bucket;
    /// - the estimate of a cost stands, as the response has nothing to settle it by.
    ///
    /// Another stack on the same bucket may enforce. Its calls are sent as if no call were
    /// observed. While there are virtual calls, each call of that stack takes the bucket's lock,
    /// and virtually sends the calls whose turn has come. A [`TokenStore`](crate::TokenStore) of another kind
    /// than [`Bucket`] lets its calls pass and tells nothing, unless it is [able
    /// to](crate::TokenStore::observed).
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

    /// The switch that says whether the layer only observes. `None` means that the layer enforces.
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

impl<P: Partition, R> ThrottleLayer<P, R> {
    /// The same layer with what `settings` state. Rates are set as [`set_rates`](Self::set_rates)
    /// sets them.
    ///
    /// # Errors
    ///
    /// The same as those of [`set_rates`](Self::set_rates).
    pub fn with_settings(mut self, settings: &ThrottleSettings) -> Result<Self, InvalidSettings> {
        if let Some(rates) = &settings.rates {
            self.set_rates(rates)?;
        }
        let Settings { hints, .. } = &mut self.settings;
        hints.max_pause = settings.max_pause.map_or(hints.max_pause, Pause::new);
        hints.max_quota_pause = settings
            .max_quota_pause
            .map_or(hints.max_quota_pause, Pause::new);
        self.settings.max_wait = settings.max_wait.or(self.settings.max_wait);
        self.settings.max_waiting = settings.max_waiting.unwrap_or(self.settings.max_waiting);
        Ok(self)
    }

    /// All settings, as they are now.
    #[must_use]
    pub fn settings(&self) -> ThrottleSettings {
        self.settings.plain(self.partition.rates())
    }

    /// Sets the `rates` from now on, for every stack that draws on the same tokens: see
    /// [`Bucket::set_rates`].
    ///
    /// # Errors
    ///
    /// If `rates` is empty, or if the [partition](Partition::set_rates) cannot have these rates. A
    /// partition in Redis has one rate. One of your own may have none. After an error, nothing has
    /// changed.
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

    /// What is in force now, if the partition tells it: for a health check, or a support ticket.
    /// See [`Partition::snapshot`].
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
            self.reject.clone(),
            self.settings,
            self.observe.clone(),
        )
    }
}

impl<P: fmt::Debug, R> fmt::Debug for ThrottleLayer<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleLayer")
            .field("partition", &self.partition)
            .field("settings", &self.settings)
            .field("observe_only", &self.observe)
            .finish_non_exhaustive()
    }
}
