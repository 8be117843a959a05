use std::{
    mem,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use courteous::{
    Stack,
    concurrency::{self, ConcurrencyLimitLayer, Keyed, Limiter},
    core::RequestView,
    idempotency::IdempotencyKeyLayer,
    retry::RetryLayer,
    throttle::{self, Rate, ThrottleLayer},
    timeout::{AttemptTimeoutLayer, TotalTimeoutLayer},
};
use http::Request;
use tower::Layer;

use super::{Kind, OURS, Visit, Who};
use crate::kit::uris;

const TOTAL: Duration = Duration::from_secs(30);
const ATTEMPT: Duration = Duration::from_secs(10);

pub(super) fn visit<V: Visit>(visit: &mut V) {
    let key = IdempotencyKeyLayer::new();
    let total = TotalTimeoutLayer::new(TOTAL);
    let retry = RetryLayer::new();
    let limit = ConcurrencyLimitLayer::from(LIMIT);
    let throttle = ThrottleLayer::new(rate());
    let attempt = AttemptTimeoutLayer::new(ATTEMPT);
    let limiters = Keyed::per_origin(Limiter::from(LIMIT));
    let stack = Stack::new()
        .with_idempotency_key(key.clone())
        .with_concurrency_limit(ConcurrencyLimitLayer::of(limiters))
        .with_throttle(ThrottleLayer::per_origin(rate()))
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    visit.visit(Who::new(Kind::Concurrency, OURS), |inner| {
        limit.layer(inner)
    });
    visit.visit(Who::new(Kind::Throttle, OURS), |inner| {
        throttle.layer(inner)
    });
    visit.visit(Who::new(Kind::Retry, OURS), |inner| retry.layer(inner));
    visit.visit(Who::new(Kind::Key, OURS), |inner| key.layer(inner));
    visit.visit(Who::new(Kind::TotalTimeout, OURS), |inner| {
        total.layer(inner)
    });
    visit.visit(Who::new(Kind::AttemptTimeout, OURS), |inner| {
        attempt.layer(inner)
    });
    visit.visit(Who::new(Kind::Five, OURS), |inner| {
        let limited = limit.layer(throttle.layer(inner));
        key.layer(total.layer(retry.layer(limited)))
    });
    visit.visit(Who::new(Kind::Stack, OURS), |inner| stack.layer(inner));
}

/// The limits for each origin, alone and with the other layers.
pub(super) fn visit_origins<V: Visit>(origins: usize, visit: &mut V) {
    let key = IdempotencyKeyLayer::new();
    let total = TotalTimeoutLayer::new(TOTAL);
    let retry = RetryLayer::new();
    let limit = ConcurrencyLimitLayer::of(Keyed::per_origin(Limiter::from(LIMIT)));
    let throttle = ThrottleLayer::per_origin(rate());
    // With a handle that is kept, an origin is never forgotten.
    for uri in uris(origins) {
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        let head = RequestView::of(&request);
        mem::forget(concurrency::Partition::select(limit.partition(), head));
        mem::forget(throttle::Partition::select(throttle.partition(), head));
    }
    let who = |kind| Who::new(kind, OURS).with_origins(origins);
    visit.visit(who(Kind::Concurrency), |inner| limit.layer(inner));
    visit.visit(who(Kind::Throttle), |inner| throttle.layer(inner));
    visit.visit(who(Kind::Five), |inner| {
        let limited = limit.layer(throttle.layer(inner));
        key.layer(total.layer(retry.layer(limited)))
    });
}

/// More than the calls of any group that are in flight at a time: no call waits.
const LIMIT: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// A rate that no round reaches.
fn rate() -> Rate {
    let rate = Rate::new(100_000_000, Duration::from_secs(1));
    let rate = rate.unwrap_or_else(|error| panic!("{error}"));
    rate.with_burst(const { NonZeroU32::new(1_000_000).unwrap() })
}
