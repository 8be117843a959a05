use std::{
    fmt,
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use courteous_backoff::Backoff;
use courteous_body::{Native, ReplayBody, Via};
use courteous_core::{Classify, Dice, InvalidCount, InvalidSettings, ObserveOnly, RequestView};
use http::HeaderName;

use crate::{Budget, RetryEvent, RetrySettings, settings::Settings};

/// Sends a request again where that is safe, useful, and within a budget.
///
/// | setting | default | why |
/// |---|---|---|
/// | attempts, the first included | 3, within the budget | what three do not reach, more seldom do; 5 is the most that makes sense |
/// | backoff | exponential from 100 ms, full jitter, cap 20 s | see [`Backoff`] |
/// | backoff after a 503 | from 500 ms, decorrelated jitter, cap 2 s | a queue is not gone within 100 ms |
/// | backoff after a 429 | exponential from 1 s, full jitter, cap 20 s | the server has said that it gets too much |
/// | longest wait of a call, in sum | 60 s | a caller without a deadline gets an answer in the end |
/// | budget | [`Budget::new`]: a start of 8 retries, then one to five successes | a sick server gets no storm |
/// | classifier | [`HttpClassifier`](crate::HttpClassifier) | see there |
/// | a 429 to a request that is neither idempotent nor keyed | sent again | see [`with_retry_throttled`](Self::with_retry_throttled) |
/// | body bytes kept | 64 KiB | a larger body is sent once |
/// | key header | `idempotency-key` | the IETF draft's name |
///
/// # Sharing
///
/// Every service that this layer makes, and every clone of one, draws on the layer's budget. A clone of the layer shares
/// it, too.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use courteous_retry::{Backoff, InvalidCount, RetryLayer};
///
/// let patient = RetryLayer::new()
///     .with_max_attempts(5)?
///     .with_backoff(Backoff::exponential(Duration::from_millis(50)))
///     .with_on_retry(|event| eprintln!("attempt {} failed", event.attempt()));
/// # Ok::<_, InvalidCount>(())
/// ```
#[derive(Clone)]
pub struct RetryLayer<K = Native> {
    pub(crate) settings: Arc<Settings>,
    pub(crate) keep: K,
}

impl RetryLayer {
    /// A retry with the defaults, and a budget of its own.
    #[must_use]
    pub fn new() -> Self {
        Self {
            settings: Arc::new(Settings::new()),
            keep: Native::new(),
        }
    }
}

impl<K> RetryLayer<K> {
    /// How many attempts a call may have, the first included. Default: 3. One means no retry, as does
    /// [`NoRetry`](crate::NoRetry) for a single request. The budget stays shared with the layer that this
    /// one was made from.
    ///
    /// # Errors
    ///
    /// If it is 0: a call has at least one attempt.
    pub fn with_max_attempts(self, attempts: u32) -> Result<Self, InvalidCount> {
        let attempts = NonZeroU32::new(attempts).ok_or(InvalidCount::new("max_attempts"))?;
        Ok(self.with(|settings| settings.max_attempts = Arc::new(attempts.get().into())))
    }

    /// How long to wait between attempts. Default: exponential from 100 ms, with full jitter, at most 20 s.
    ///
    /// Also sets the [backoff after an overload](Self::with_overload_backoff), which has another default.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        self.with(|settings| {
            settings.policy.backoff = backoff;
            settings.policy.overload_backoff = backoff;
        })
    }

    /// How long to wait after an answer that says that the server has more to do than it can (503, or UNAVAILABLE of gRPC),
    /// unless it says how long; and after silence, if an adaptive limit further in knows that the server is not calm, or
    /// knows little of it yet. Default: from 500 ms, with decorrelated jitter, at most 2 s.
    ///
    /// A server that has too much to do has it for seconds. Clients that come back within 100 ms meet the same queue, and
    /// make it longer.
    #[must_use]
    pub fn with_overload_backoff(self, backoff: Backoff) -> Self {
        self.with(|settings| settings.policy.overload_backoff = backoff)
    }

    /// States that an adaptive limit stands further in, which tells of the server's [`Pressure`](courteous_core::Pressure).
    /// The budget then trusts it: while the server is calm, a success deposits a whole token, and a retry after silence
    /// costs 1. While it is not, there is no retry after silence, as the server may still be at work on the attempt.
    /// Default: no such limit. A `courteous::Stack` does not set it.
    #[must_use]
    pub fn with_adaptive_limit_inside(self) -> Self {
        self.with(|settings| settings.is_limit_adaptive = true)
    }

    /// How long to wait after an answer that says that the client sends too much, unless it says how long. If it does, this
    /// is what is added as jitter. Default: exponential from 1 s, with full jitter, at most 20 s.
    #[must_use]
    pub fn with_throttled_backoff(self, backoff: Backoff) -> Self {
        self.with(|settings| settings.policy.throttled_backoff = backoff)
    }

    /// The longest that one call may wait between its attempts, in sum. Default: 60 s.
    ///
    /// A wait that would exceed it is not begun: the call ends at once with what it has, and
    /// [`not_before`](crate::RetryInfo::not_before) tells when the server would have it again. Zero allows only waits of
    /// zero; `Duration::MAX` leaves the deadline as the only bound.
    #[must_use]
    pub fn with_max_wait(self, max_wait: Duration) -> Self {
        self.with(|settings| settings.policy.max_wait = max_wait)
    }

    /// The budget that all retries of this layer draw on.
    #[must_use]
    pub fn with_budget(self, budget: Budget) -> Self {
        self.with(|settings| settings.budget = budget)
    }

    /// What judges responses and errors.
    ///
    /// It sees the request as this layer was given it, by its method and target:
    /// [`Outcome::request`](courteous_core::Outcome::request). Whether a failed request may be sent again is still decided on
    /// the request, by its method and key.
    ///
    /// ```
    /// use courteous_core::{Classify, Effect, Fault, Outcome, Verdict};
    /// use courteous_retry::{HttpClassifier, RetryLayer};
    /// use http::{Method, StatusCode};
    ///
    /// // What was just written may not be there yet: 404 may pass, for reads from the replicas.
    /// let layer = RetryLayer::new().with_classifier(|outcome: Outcome<'_>| match outcome.request() {
    ///     Some(request)
    ///         if outcome.status() == Some(StatusCode::NOT_FOUND)
    ///             && request.method() == Method::GET
    ///             && request.uri().path().starts_with("/replica/") =>
    ///     {
    ///         Verdict::transient(Effect::MaybeProcessed, Fault::Server)
    ///     }
    ///     _ => HttpClassifier::new().classify(outcome),
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn with_classifier<C>(self, classifier: C) -> Self
    where
        C: Classify + Send + Sync + 'static,
    {
        self.with(|settings| {
            settings.classifier = Arc::new(classifier);
            settings.is_classifier_chosen = true;
        })
    }

    /// What judges responses and errors if [`with_classifier`](Self::with_classifier) was not called: for presets, which bring
    /// the classifier of a client, and keep a classifier that their user has chosen.
    #[must_use]
    pub fn with_default_classifier<C>(self, classifier: C) -> Self
    where
        C: Classify + Send + Sync + 'static,
    {
        match self.settings.is_classifier_chosen {
            true => self,
            false => self.with(|settings| settings.classifier = Arc::new(classifier)),
        }
    }

    /// The header field whose key says that the server recognises a request that it has seen. Default: `idempotency-key`.
    /// Where the field holds no key, it says nothing: see [`KeyField`](courteous_core::KeyField).
    #[must_use]
    pub fn with_key_header(self, name: HeaderName) -> Self {
        self.with(|settings| {
            settings.key_header = name;
            settings.is_key_header_chosen = true;
        })
    }

    /// The header field that holds the key if [`with_key_header`](Self::with_key_header) was not called: for presets, which know
    /// the field that their key layer writes.
    #[must_use]
    pub fn with_default_key_header(self, name: HeaderName) -> Self {
        match self.settings.is_key_header_chosen {
            true => self,
            false => self.with(|settings| settings.key_header = name),
        }
    }

    /// How many bytes of a streaming body are kept for another attempt. Default: 64 KiB.
    ///
    /// A request with a larger body is sent once. Bodies that are in memory anyway, such as `Full`, do not count.
    #[must_use]
    pub fn with_body_limit(self, bytes: usize) -> Self {
        self.with(|settings| settings.body_limit = bytes)
    }

    /// Whether a request that the server refused by 429 is sent again though it is neither idempotent nor keyed. Default: yes,
    /// as a server answers 429 before it processes anything (RFC 6585, section 4).
    ///
    /// If not, the body of such a request is not kept, unless it is in memory anyway.
    #[must_use]
    pub fn with_retry_throttled(self, retry: bool) -> Self {
        self.with(|settings| settings.policy.retry_throttled = retry)
    }

    /// Whether a request that the server *refused*, by a status other than 429 and with the time when to come back, is sent again
    /// though it is neither idempotent nor keyed. Default: no, as a refusal is a convention and no proof: a proxy's 503 with
    /// `Retry-After` may come after the request was processed.
    #[must_use]
    pub fn with_retry_refused(self, retry: bool) -> Self {
        self.with(|settings| settings.policy.retry_refused = retry)
    }

    /// Says of requests whether sending them twice does no more than sending them once; `None` leaves it to the method.
    ///
    /// For gRPC, where every call is a POST, and for APIs whose POSTs only read. A request with a key may be sent again in
    /// any case. [`Idempotent`](crate::Idempotent) says it of a single request, and wins, over its key too.
    ///
    /// ```
    /// # use courteous_retry::RetryLayer;
    /// RetryLayer::new()
    ///     .with_idempotent(|request| request.uri().path().starts_with("/shop.Catalog/Get").then_some(true));
    /// ```
    #[must_use]
    pub fn with_idempotent<F>(self, is_idempotent: F) -> Self
    where
        F: Fn(RequestView<'_>) -> Option<bool> + Send + Sync + 'static,
    {
        self.with(|settings| settings.is_idempotent = Some(Arc::new(is_idempotent)))
    }

    /// Writes the number of each attempt, from 1, into a header field. Default: none.
    ///
    /// Envoy's name for that is `x-envoy-attempt-count`. gRPC requests get `grpc-previous-rpc-attempts` in any case, from the
    /// second attempt on, as gRFC A6 asks of every client.
    #[must_use]
    pub fn with_attempt_header(self, name: HeaderName) -> Self {
        self.with(|settings| settings.attempt_header = Some(name))
    }

    /// Where the jitter comes from. Default: the thread's own generator; seeded dice make a run reproducible.
    #[must_use]
    pub fn with_dice(self, dice: Dice) -> Self {
        self.with(|settings| settings.dice = dice)
    }

    /// Is called before the wait for each further attempt, on the task that polls the call.
    #[must_use]
    pub fn with_on_retry<F>(self, on_retry: F) -> Self
    where
        F: Fn(&RetryEvent<'_>) + Send + Sync + 'static,
    {
        self.with(|settings| settings.on_retry = Some(Arc::new(on_retry)))
    }

    /// Only observes: each call makes one attempt, while the switch is on, whose outcome is returned as it is: no
    /// [`RetryInfo`](crate::RetryInfo), no [`Retried`](crate::Retried), no header field, and the hook is not called. `true` is a
    /// switch of the layer's own; `false` enforces, also in a stack that only observes. The default is to enforce.
    ///
    /// A call that would have been retried is counted as [`Decision::Retry`](courteous_core::Decision::Retry), or as
    /// [`Decision::BudgetReject`](courteous_core::Decision::BudgetReject) if the budget would not have allowed it; an event tells
    /// the wait. What would have come of the second attempt, and whether there would have been a third, is not known. The budget
    /// that is charged is [`Budget::observed`]. Keys are neither claimed nor rejected.
    #[must_use]
    pub fn observe_only(self, switch: impl Into<ObserveOnly>) -> Self {
        self.with(|settings| settings.observe = Some(switch.into()))
    }

    /// The switch that says whether the layer only observes. `None`: it enforces.
    #[must_use]
    pub fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.settings.observe.as_ref()
    }

    /// Keeps bodies of a type that this crate does not know, by a function that makes one of a [`ReplayBody`].
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use courteous_core::BoxError;
    /// # use http_body_util::combinators::UnsyncBoxBody;
    /// use courteous_retry::RetryLayer;
    ///
    /// type Body = UnsyncBoxBody<Bytes, BoxError>; // or the `Body` of your client's library
    /// let layer = RetryLayer::new().via(Body::new);
    /// ```
    #[must_use]
    pub fn via<F, B>(self, wrap: F) -> RetryLayer<Via<F>>
    where
        F: Fn(ReplayBody<B>) -> B + Clone,
    {
        RetryLayer {
            settings: self.settings,
            keep: Via::new(wrap),
        }
    }

    /// The same with what `settings` state.
    ///
    /// # Errors
    ///
    /// As those of [`Backoff`] and of [`BudgetBuilder`](crate::BudgetBuilder).
    pub fn with_settings(mut self, settings: &RetrySettings) -> Result<Self, InvalidSettings> {
        settings.apply_to(Arc::make_mut(&mut self.settings))?;
        Ok(self)
    }

    /// Changes how many attempts a call may have, from the next call on, for every service that this layer has made, for every clone
    /// of one, and for the layer's clones, with whatever other settings: clones share the number, as they share the budget.
    /// [`with_max_attempts`](Self::with_max_attempts) makes a layer with a number of its own. 1 switches retries off.
    ///
    /// # Errors
    ///
    /// If it is 0: a call has at least one attempt. Then nothing changes.
    pub fn set_max_attempts(&self, attempts: u32) -> Result<(), InvalidCount> {
        let attempts = NonZeroU32::new(attempts).ok_or(InvalidCount::new("max_attempts"))?;
        let own = &self.settings.max_attempts;
        own.store(attempts.get(), Ordering::Relaxed);
        Ok(())
    }

    /// All settings that a file can state, as they are now.
    #[must_use]
    pub fn settings(&self) -> RetrySettings {
        RetrySettings::of(&self.settings)
    }

    /// The budget that all retries of this layer draw on: a handle to read.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.settings.budget
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> fmt::Debug for RetryLayer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RetryLayer").field(&self.settings).finish()
    }
}
