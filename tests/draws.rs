//! How often a call draws random bytes from the operating system: once for its key or its id, if it
//! has one, and never otherwise.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod parts;

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use courteous_core::test_util;
use courteous_idempotency::IdempotencyKeyLayer;
use courteous_retry::{Idempotent, NoRetry, RetryLayer};
use courteous_testkit::{Probe, Reply, Seen};
use courteous_timeout::{AttemptTimeoutLayer, TotalTimeoutLayer};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use tower::ServiceExt;
use tower_layer::Layer;
use tower_service::Service;

use crate::parts::{limit_of, retry_waiting, throttle_of};

const KEY: &str = "idempotency-key";
const LONG: Duration = Duration::from_secs(60);

fn request(method: Method) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri("http://api.test/")
        .body(Full::default())
        .unwrap()
}

/// Sends `request` through all layers, and returns how often the call drew.
async fn draws_of(key: Option<IdempotencyKeyLayer>, request: Request<Full<Bytes>>) -> u64 {
    let probe = Probe::new();
    let inner = AttemptTimeoutLayer::new(LONG).layer(probe.clone());
    let inner = limit_of(9).0.layer(throttle_of(9, 9).0.layer(inner));
    let inner = TotalTimeoutLayer::new(LONG).layer(RetryLayer::new().layer(inner));
    let before = test_util::draws();
    match key {
        Some(layer) => drop(layer.layer(inner).oneshot(request).await.unwrap()),
        None => drop(inner.oneshot(request).await.unwrap()),
    }
    assert_eq!(probe.calls(), 1);
    test_util::draws() - before
}

#[tokio::test(start_paused = true)]
async fn a_call_draws_once_for_its_key_or_its_id_and_not_at_all_where_it_needs_neither() {
    let keys = || Some(IdempotencyKeyLayer::new());
    let keyed = || {
        let mut request = request(Method::POST);
        let key = HeaderValue::from_static("mine");
        request.headers_mut().insert(KEY, key);
        request
    };
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        assert_eq!(draws_of(keys(), request(method.clone())).await, 0);
        assert_eq!(draws_of(None, request(method)).await, 0);
    }
    for method in [Method::POST, Method::PATCH] {
        let drawn = draws_of(keys(), request(method.clone())).await;
        assert_eq!(drawn, 1, "the key");
        assert_eq!(draws_of(None, request(method)).await, 1, "the call's id");
    }
    assert_eq!(draws_of(keys(), keyed()).await, 0, "the caller's own key");
    assert_eq!(draws_of(None, keyed()).await, 0);
    let mut once = request(Method::POST);
    once.extensions_mut().insert(NoRetry);
    assert_eq!(draws_of(None, once).await, 0, "no layer needs an id");
}

/// What the server sees of three attempts if the key layer is inside the retry.
async fn three_attempts(keys: IdempotencyKeyLayer, request: Request<Full<Bytes>>) -> Vec<Seen> {
    let probe = Probe::new().replies([Reply::status(503), Reply::status(503)]);
    let swapped = retry_waiting(Duration::from_secs(1)).layer(keys.layer(probe.clone()));
    swapped.oneshot(request).await.unwrap();
    probe.seen()
}

#[tokio::test(start_paused = true)]
async fn a_key_layer_inside_a_retry_sends_one_key_per_call_or_none() {
    let keys = |methods: &[Method]| {
        IdempotencyKeyLayer::new()
            .with_methods(methods.to_vec())
            .unwrap()
    };
    let key = |seen: &Seen| seen.headers.get(KEY).cloned();

    // Sent again because the caller allows it: the key follows from the call's id.
    let mut post = request(Method::POST);
    post.extensions_mut().insert(Idempotent(true));
    let before = test_util::draws();
    let seen = three_attempts(keys(&[Method::POST]), post.clone()).await;
    let sent: Vec<_> = seen.iter().map(key).collect();
    assert!(sent[0].is_some());
    assert_eq!(sent, [sent[0].clone(), sent[0].clone(), sent[0].clone()]);
    // The two waits draw, too.
    assert_eq!(test_util::draws() - before, 1 + 2);
    let other = three_attempts(keys(&[Method::POST]), post).await;
    assert_ne!(key(&other[0]), sent[0]);

    // Idempotent by its method: the retry draws no id, as a new key for each attempt would be worse
    // than none.
    let seen = three_attempts(keys(&[Method::PUT]), request(Method::PUT)).await;
    assert!(seen.iter().all(|seen| key(seen).is_none()));
    assert!(seen.iter().all(|seen| seen.context.call_id().is_none()));
    assert_eq!(seen.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_random_bytes_a_retry_gives_no_id_and_sends_no_unkeyed_post_again() {
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let mut swapped = RetryLayer::new().layer(IdempotencyKeyLayer::new().layer(probe.clone()));
    let ready = poll_fn(|cx| Service::<Request<Full<Bytes>>>::poll_ready(&mut swapped, cx));
    ready.await.unwrap();
    let call = test_util::without_random_bytes(|| swapped.call(request(Method::POST)));
    assert_eq!(call.await.unwrap().status(), 503);
    let seen = probe.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].headers.is_empty());
    assert_eq!(seen[0].context.call_id(), None);
}
