//! One of each layer, and what the contract must know about it.

#![allow(dead_code, reason = "each test binary uses what it needs")]
#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{num::NonZeroU32, time::Duration};

use courteous_backoff::{Backoff, Jitter};
use courteous_concurrency::{ConcurrencyLimitLayer, Limiter};
use courteous_idempotency::IdempotencyKeyLayer;
use courteous_retry::RetryLayer;
use courteous_testkit::Subject;
use courteous_throttle::{Bucket, Rate, ThrottleLayer};
use courteous_timeout::{AttemptTimeoutLayer, TotalTimeoutLayer};

/// Longer than any wait in a test that is not about timeouts.
const LONG: Duration = Duration::from_secs(600);

/// Three attempts, with exactly this wait before each further attempt.
pub(crate) fn retry_waiting(wait: Duration) -> RetryLayer {
    RetryLayer::new()
        .with_max_attempts(3)
        .unwrap()
        .with_backoff(Backoff::constant(wait).with_jitter(Jitter::None))
}

/// A layer that lets at most `calls` calls be in flight, and the limit's handle.
pub(crate) fn limit_of(calls: usize) -> (ConcurrencyLimitLayer, Limiter) {
    let limiter = Limiter::new(calls).unwrap();
    (ConcurrencyLimitLayer::from(limiter.clone()), limiter)
}

/// A layer with `per_second` tokens a second after a burst, and the bucket's handle.
pub(crate) fn throttle_of(per_second: u32, burst: u32) -> (ThrottleLayer, Bucket) {
    let rate = Rate::new(per_second, Duration::from_secs(1))
        .unwrap()
        .with_burst(NonZeroU32::new(burst).unwrap());
    let bucket = Bucket::new(rate);
    (ThrottleLayer::from(bucket.clone()), bucket)
}

pub(crate) fn idempotency_key() -> Subject<IdempotencyKeyLayer> {
    Subject::new(IdempotencyKeyLayer::new())
}

pub(crate) fn total_timeout() -> Subject<TotalTimeoutLayer> {
    Subject::new(TotalTimeoutLayer::new(LONG))
}

pub(crate) fn attempt_timeout() -> Subject<AttemptTimeoutLayer> {
    Subject::new(AttemptTimeoutLayer::new(LONG))
}

pub(crate) fn retry() -> Subject<RetryLayer> {
    Subject::new(retry_waiting(Duration::from_millis(20))).retries(3)
}

pub(crate) fn throttle() -> Subject<ThrottleLayer> {
    let (layer, bucket) = throttle_of(1, 2);
    Subject::new(layer)
        .waits_behind(2)
        .gauge("waiting for a token", move || bucket.waiting())
}

pub(crate) fn concurrency_limit() -> Subject<ConcurrencyLimitLayer> {
    let (layer, limiter) = limit_of(2);
    let waiting = limiter.clone();
    Subject::new(layer)
        .waits_behind(2)
        .gauge("permits in use", move || limiter.in_flight())
        .gauge("waiting for a permit", move || waiting.waiting())
}
