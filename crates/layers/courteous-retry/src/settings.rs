use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use courteous_backoff::{Backoff, Jitter};
use courteous_body::DEFAULT_LIMIT;
use courteous_classify::is_grpc;
use courteous_core::{
    Classify, Dice, Idempotent, KeyField, ObserveOnly, RequestView, is_conditional_write,
    is_idempotent,
};
use http::{Extensions, HeaderName, Request};

use crate::{
    Budget, HttpClassifier, MaxAttempts, NoRetry, RetryEvent,
    policy::{Allowance, Policy, RequestFacts},
};

/// The name that the IETF draft gives to the field.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Three, the first included.
const MAX_ATTEMPTS: u32 = 3;

/// What all services of a layer share.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) policy: Policy,
    /// Can be changed in running services.
    pub(crate) max_attempts: Arc<AtomicU32>,
    pub(crate) budget: Budget,
    /// Whether an adaptive limit stands further in.
    pub(crate) is_limit_adaptive: bool,
    pub(crate) classifier: Arc<dyn Classify + Send + Sync>,
    /// The caller has chosen the classifier.
    pub(crate) is_classifier_chosen: bool,
    pub(crate) dice: Dice,
    pub(crate) key_header: HeaderName,
    /// The caller has chosen the field.
    pub(crate) is_key_header_chosen: bool,
    pub(crate) body_limit: usize,
    pub(crate) is_idempotent: Option<Arc<IsIdempotent>>,
    pub(crate) attempt_header: Option<HeaderName>,
    pub(crate) on_retry: Option<Arc<OnRetry>>,
    pub(crate) observe: Option<ObserveOnly>,
}

/// Each client waits for about a second, and no two for the same time.
fn overload_backoff() -> Backoff {
    let backoff =
        Backoff::exponential(Duration::from_millis(500)).with_jitter(Jitter::Decorrelated);
    backoff.with_cap(Duration::from_secs(2)).unwrap_or(backoff)
}

type IsIdempotent = dyn Fn(RequestView<'_>) -> Option<bool> + Send + Sync;
type OnRetry = dyn Fn(&RetryEvent<'_>) + Send + Sync;

impl Settings {
    pub(crate) fn new() -> Self {
        Self {
            policy: Policy {
                backoff: Backoff::exponential(Duration::from_millis(100)),
                overload_backoff: overload_backoff(),
                throttled_backoff: Backoff::exponential(Duration::from_secs(1)),
                max_wait: Duration::from_secs(60),
                retry_refused: false,
                retry_throttled: true,
            },
            max_attempts: Arc::new(MAX_ATTEMPTS.into()),
            budget: Budget::new(),
            is_limit_adaptive: false,
            classifier: Arc::new(HttpClassifier::new()),
            is_classifier_chosen: false,
            dice: Dice::new(),
            key_header: IDEMPOTENCY_KEY,
            is_key_header_chosen: false,
            body_limit: DEFAULT_LIMIT,
            is_idempotent: None,
            attempt_header: None,
            on_retry: None,
            observe: None,
        }
    }

    /// What a decision needs to know of `request`, whose caller has said what is in `overrides`.
    pub(crate) fn facts<B>(&self, request: &Request<B>, overrides: &Extensions) -> RequestFacts {
        let callers_word = overrides.get().map(|Idempotent(said)| *said);
        let said = callers_word.or_else(|| self.is_idempotent.as_ref()?(RequestView::of(request)));
        let (method, headers) = (request.method(), request.headers());
        let keyed = callers_word != Some(false) && KeyField::of(headers, &self.key_header).is_key();
        RequestFacts {
            idempotent: said.unwrap_or_else(|| is_idempotent(method)),
            keyed,
            conditional: said.is_none() && is_conditional_write(method, headers),
            said: said.filter(|&is_idempotent| is_idempotent || !keyed),
        }
    }

    /// How many attempts a request may have whose caller has said nothing.
    pub(crate) fn own_max_attempts(&self) -> NonZeroU32 {
        let attempts = self.max_attempts.load(Ordering::Relaxed);
        NonZeroU32::new(attempts).unwrap_or(NonZeroU32::MIN)
    }

    /// How many attempts a request may have whose caller has said what is in `overrides`.
    pub(crate) fn max_attempts(&self, overrides: &Extensions) -> Allowance {
        if overrides.get::<NoRetry>().is_some() {
            return Allowance::Disabled;
        }
        let own = overrides.get().map(|own: &MaxAttempts| own.get());
        Allowance::Allowed(own.unwrap_or_else(|| self.own_max_attempts()))
    }

    /// How much of the body of `request` to keep: nothing where no failure but one *before* the body was read would allow
    /// another attempt.
    ///
    /// A gRPC client reads the body before it learns that the stream was refused (gRFC A6, transparent retries).
    pub(crate) fn body_limit<B>(&self, request: &Request<B>, facts: RequestFacts) -> usize {
        let refusals = self.policy.retry_refused || self.policy.retry_throttled;
        let repeatable = facts.idempotent || facts.keyed || refusals;
        if repeatable || is_grpc(request.headers()) {
            self.body_limit
        } else {
            0
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("policy", &self.policy)
            .field("max_attempts", &self.max_attempts)
            .field("budget", &self.budget)
            .field("key_header", &self.key_header)
            .field("body_limit", &self.body_limit)
            .field("observe_only", &self.observe)
            .finish_non_exhaustive()
    }
}
