use std::{num::NonZeroUsize, time::Duration};

use bytes::Bytes;
use courteous::{
    BoxError, ServiceBuilder, ServiceBuilderExt, concurrency,
    concurrency::{
        ConcurrencyLimitLayer, Limiter,
        adaptive::{AdaptiveLimitLayer, Partition as _},
    },
    core::Dice,
    idempotency::IdempotencyKeyLayer,
    retry::{Backoff, Budget, Jitter, RetryLayer},
    throttle::{Bucket, Keyed, PerOrigin, Rate, Throttle, ThrottleLayer},
    timeout::AttemptTimeout,
};
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::layer::{Layer, util::Identity};
use tower_service::Service;

use super::{limits::LimitLayer, probe::ProbeLayer};
use crate::{Requirements, Transport, chance::mix};

/// The differences from the defaults.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) jitter: Option<Jitter>,
    pub(crate) budget: Option<fn() -> Budget>,
}

impl Settings {
    pub(crate) const fn with_jitter(jitter: Jitter) -> Self {
        Self {
            jitter: Some(jitter),
            budget: None,
        }
    }
}

/// What an adaptive limit stands around.
type Limited = Throttle<AttemptTimeout<Transport>, PerOrigin>;

/// A service that makes calls, or their attempts.
pub(crate) trait Client:
    Service<
        Request<Full<Bytes>>,
        Response = Response<Self::Body>,
        Error = BoxError,
        Future: 'static,
    > + Clone
    + 'static
{
    type Body;
}

impl<S, B> Client for S
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError, Future: 'static>
        + Clone
        + 'static,
{
    type Body = B;
}

/// The layers of `courteous::Stack`, in its order and with its defaults.
pub(crate) fn client(
    transport: Transport,
    required: &Requirements,
    settings: &Settings,
) -> impl Client + use<> {
    let most = required.in_flight().unwrap_or(IN_FLIGHT);
    let retry = retry(required, settings);
    stacked(transport, required, retry, most, Identity::new(), || 0)
}

/// The same, with an adaptive limit in place of the fixed one.
pub(crate) fn adaptive(
    transport: Transport,
    required: &Requirements,
    change: fn(AdaptiveLimitLayer) -> AdaptiveLimitLayer,
) -> impl Client + use<> {
    let retry = retry(required, &Settings::default()).with_adaptive_limit_inside();
    let limit = AdaptiveLimitLayer::new().with_attempt_timeout(required.attempt_timeout());
    let limit = AdaptiveLimitLayer::per_origin(change(limit));
    let limiters = limit.partition().clone();
    let in_use = move || {
        let now = limiters.snapshot();
        now.map_or(0, |now| now.in_flight + now.waiting)
    };
    let most = required.in_flight().unwrap_or(NonZeroUsize::MAX);
    stacked(transport, required, retry, most, limit, in_use)
}

/// The same, with another project's limit in its place.
pub(crate) fn limited(
    transport: Transport,
    required: &Requirements,
    limit: LimitLayer,
) -> impl Client + use<> {
    let retry = retry(required, &Settings::default());
    let most = required.in_flight().unwrap_or(NonZeroUsize::MAX);
    let in_use = {
        let limit = limit.clone();
        move || limit.in_flight()
    };
    stacked(transport, required, retry, most, limit, in_use)
}

/// The layers around `transport`: a fixed limit of `most` for each origin, and `limit` within it. What is
/// `in_use` of that limit in the end was not given back.
fn stacked<L, F>(
    transport: Transport,
    required: &Requirements,
    retry: RetryLayer,
    most: NonZeroUsize,
    limit: L,
    in_use: F,
) -> impl Client + use<L, F>
where
    F: Fn() -> usize + 'static,
    L: Layer<Limited, Service: Client<Body: Body>>,
{
    let probe = ProbeLayer::default();
    let limiters = concurrency::Keyed::per_origin(Limiter::from(most));
    let buckets = buckets(required);
    let client = ServiceBuilder::new()
        .idempotency_key(IdempotencyKeyLayer::new())
        .total_timeout(required.total_timeout().unwrap_or(Duration::MAX))
        .retry(retry.clone())
        .layer(probe.clone())
        .concurrency_limit(ConcurrencyLimitLayer::of(limiters.clone()))
        .layer(limit)
        .throttle(ThrottleLayer::of(buckets.clone()))
        .attempt_timeout(required.attempt_timeout())
        .service(transport);
    required.at_end(move || {
        let permits = limiters.in_flight() + limiters.waiting() + in_use();
        permits as u64 + held(&retry, &probe, &buckets)
    });
    client
}

fn retry(required: &Requirements, settings: &Settings) -> RetryLayer {
    let mut retry = RetryLayer::new().with_dice(dice(required, 0));
    if let Some(attempts) = required.attempts() {
        // Never the old one, as the number is not zero.
        retry = (retry.clone().with_max_attempts(attempts.get())).unwrap_or(retry);
    }
    if required.is_budget_off() {
        retry = retry.with_budget(Budget::unlimited());
    }
    if let Some(budget) = settings.budget {
        retry = retry.with_budget(budget());
    }
    if let Some(jitter) = settings.jitter {
        retry = retry.with_backoff(Backoff::default().with_jitter(jitter));
    }
    retry
}

fn buckets(required: &Requirements) -> PerOrigin {
    Keyed::per_origin(Bucket::new(Rate::UNLIMITED).with_dice(dice(required, 1)))
}

fn dice(required: &Requirements, n: u64) -> Dice {
    Dice::seeded(mix(required.seed(), n))
}

/// The tokens and the payments that were not given back.
fn held(retry: &RetryLayer, probe: &ProbeLayer, buckets: &PerOrigin) -> u64 {
    let tokens = probe.origin().and_then(|origin| buckets.get(&origin));
    let tokens = tokens.map_or(0, |bucket| {
        let taken = Rate::UNLIMITED.burst().get() - bucket.available();
        bucket.waiting() as u64 + u64::from(taken)
    });
    // Each retry that was paid for and not given back has left the retry layer.
    tokens + retry.budget().retries().abs_diff(probe.retries())
}

/// `courteous::Stack`'s.
const IN_FLIGHT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(127);
