//! The dead-letter layer next to every other layer. The tests run the contract for each pair, in
//! both orders, and show what swapping neighbours does.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{future::poll_fn, num::NonZeroU32, time::Duration};

use bytes::Bytes;
use courteous::{
    BoxError,
    concurrency::{ConcurrencyLimitLayer, Limiter},
    core::Elapsed,
    find_cause,
    idempotency::IdempotencyKeyLayer,
    retry::{Backoff, Jitter, RetryLayer},
    throttle::{Bucket, Rate, ThrottleLayer},
    timeout::{AttemptTimeoutLayer, TotalTimeoutLayer},
};
use courteous_dead_letter::{DeadLetterLayer, Filter, LetterStore, MemoryStore, Page, Record};
use courteous_testkit::{Probe, Reply, Subject, contract};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use tower::{Layer, Service};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any wait in a test that is not about timeouts.
const LONG: Duration = Duration::from_secs(600);

fn dead_letter() -> Subject<DeadLetterLayer> {
    Subject::new(DeadLetterLayer::new(MemoryStore::new()))
}

fn idempotency_key() -> Subject<IdempotencyKeyLayer> {
    Subject::new(IdempotencyKeyLayer::new())
}

fn total_timeout() -> Subject<TotalTimeoutLayer> {
    Subject::new(TotalTimeoutLayer::new(LONG))
}

fn attempt_timeout() -> Subject<AttemptTimeoutLayer> {
    Subject::new(AttemptTimeoutLayer::new(LONG))
}

fn retry() -> Subject<RetryLayer> {
    let wait = Backoff::constant(Duration::from_millis(20)).with_jitter(Jitter::None);
    let layer = RetryLayer::new()
        .with_max_attempts(3)
        .unwrap()
        .with_backoff(wait);
    Subject::new(layer).retries(3)
}

fn throttle() -> Subject<ThrottleLayer> {
    let rate = Rate::new(1, SECOND).unwrap();
    let bucket = Bucket::new(rate.with_burst(NonZeroU32::new(2).unwrap()));
    Subject::new(ThrottleLayer::from(bucket.clone()))
        .waits_behind(2)
        .gauge("waiting for a token", move || bucket.waiting())
}

fn concurrency_limit() -> Subject<ConcurrencyLimitLayer> {
    let limiter = Limiter::new(2).unwrap();
    let waiting = limiter.clone();
    Subject::new(ConcurrencyLimitLayer::from(limiter.clone()))
        .waits_behind(2)
        .gauge("permits in use", move || limiter.in_flight())
        .gauge("waiting for a permit", move || waiting.waiting())
}

/// For each layer, the dead-letter layer around it, and it around the dead-letter layer.
macro_rules! beside {
    ($($layer:ident)*) => {
        mod around {
            use super::*;

            $(contract!(mod $layer { dead_letter().around(super::super::$layer()) });)*
        }

        mod inside {
            use super::*;

            $(contract!(mod $layer { super::super::$layer().around(dead_letter()) });)*
        }
    };
}

beside!(total_timeout attempt_timeout idempotency_key dead_letter retry throttle concurrency_limit);

contract!(mod the_recommended_stack {
    let limited = throttle().around(attempt_timeout());
    let retried = retry().around(concurrency_limit().around(limited));
    idempotency_key().around(dead_letter().around(total_timeout().around(retried)))
});

fn put() -> Request<Full<Bytes>> {
    let request = Request::put("http://api.test/");
    request.body(Full::default()).unwrap()
}

fn post() -> Request<Full<Bytes>> {
    let request = Request::post("http://api.test/");
    request.body(Full::default()).unwrap()
}

async fn send<S, B>(mut service: S, request: Request<Full<Bytes>>) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    let ready = poll_fn(|cx| service.poll_ready(cx)).await;
    ready.map_err(Into::into)?;
    service.call(request).await.map_err(Into::into)
}

/// The key that was sent, for each letter of a store, if the letter knows it.
async fn kept(store: &MemoryStore) -> Vec<Option<HeaderValue>> {
    let records = store
        .list(Filter::default(), Page::first(10))
        .await
        .unwrap();
    let key = |record: &Record| record.letter.headers.get("idempotency-key").cloned();
    records.iter().map(key).collect()
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_inside_the_key_holds_it_and_one_outside_does_not() {
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let sent = |call: usize| probe.seen()[call].headers.get("idempotency-key").cloned();
    let key = IdempotencyKeyLayer::new();

    let store = MemoryStore::new();
    let dead_letter = DeadLetterLayer::new(store.clone());
    let service = key.layer(dead_letter.layer(probe.clone()));
    assert_eq!(send(service, post()).await.unwrap().status(), 503);
    assert!(sent(0).is_some());
    assert_eq!(kept(&store).await, [sent(0)]);

    let store = MemoryStore::new();
    let dead_letter = DeadLetterLayer::new(store.clone());
    let swapped = dead_letter.layer(key.layer(probe.clone()));
    assert_eq!(send(swapped, post()).await.unwrap().status(), 503);
    assert!(sent(1).is_some());
    assert_eq!(kept(&store).await, [None], "a redrive would book it twice");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_inside_the_total_timeout_ends_with_it() {
    let probe = Probe::new().otherwise(|_| Reply::never());
    let total = TotalTimeoutLayer::new(SECOND);

    let store = MemoryStore::new();
    let dead_letter = DeadLetterLayer::new(store.clone());
    let service = dead_letter.layer(total.layer(probe.clone()));
    let error = send(service, put()).await.unwrap_err();
    assert!(find_cause::<Elapsed>(&*error).is_some());
    assert_eq!(kept(&store).await.len(), 1);

    let store = MemoryStore::new();
    let dead_letter = DeadLetterLayer::new(store.clone());
    let swapped = total.layer(dead_letter.layer(probe.clone()));
    let error = send(swapped, put()).await.unwrap_err();
    assert!(find_cause::<Elapsed>(&*error).is_some());
    assert_eq!(kept(&store).await.len(), 0, "dropped before it had failed");
}
