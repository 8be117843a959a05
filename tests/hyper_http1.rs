//! The layers around hyper-util's client over HTTP/1.1, on loopback sockets.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod net;

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use courteous::{
    ServiceBuilder, ServiceBuilderExt, Stack,
    concurrency::{ConcurrencyLimitLayer, Keyed, Limiter},
    core::{Elapsed, Scope},
    idempotency::IdempotencyKeyLayer,
    retry::{RetryInfo, StopReason},
    throttle::{Rate, ThrottleLayer},
};
use http::{HeaderMap, HeaderValue, Request, header::TRAILER};
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt};

use crate::net::{
    RawServer, Reply, Server, brisk_retry, eventually, h1_client, nobody_listens, streamed, text,
};

fn stack() -> Stack {
    Stack::new().with_retry(brisk_retry())
}

fn get(uri: &str) -> Request<Empty<Bytes>> {
    Request::get(uri).body(Empty::new()).unwrap()
}

fn post(uri: &str) -> Request<Full<Bytes>> {
    Request::post(uri).body("amount=100".into()).unwrap()
}

fn keyed_post(uri: &str) -> Request<Full<Bytes>> {
    let mut request = post(uri);
    let key = HeaderValue::from_static("one-and-only");
    request.headers_mut().insert("idempotency-key", key);
    request
}

#[tokio::test]
async fn the_standard_stack_retries_what_a_server_fails_at() {
    let server = Server::start(|number, _| match number {
        1 => Reply::status(503),
        _ => Reply::status(200).with_body("hello"),
    })
    .await;
    let client = stack().build().unwrap().layer(h1_client());

    let response = client.oneshot(get(&server.uri("/"))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(RetryInfo::of(&response).attempts(), 2);
    assert_eq!(text(response).await, "hello");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_call_can_be_spawned() {
    let server = Server::start(|_, _| Reply::status(200)).await;
    let uri = server.uri("/");

    let client = stack().build().unwrap().layer(h1_client());
    let request = get(&uri);
    let spawned = tokio::spawn(async move { client.oneshot(request).await.map(|r| r.status()) });
    assert_eq!(spawned.await.unwrap().unwrap(), 200);

    let client = ServiceBuilder::new()
        .idempotency_key(IdempotencyKeyLayer::new())
        .total_timeout(Duration::from_secs(30))
        .retry(brisk_retry())
        .concurrency_limit(ConcurrencyLimitLayer::new(8).unwrap())
        .throttle(ThrottleLayer::new("1000/s".parse().unwrap()))
        .attempt_timeout(Duration::from_secs(10))
        .service(h1_client());
    let (request, again) = (get(&uri), get(&uri));
    let spawned = tokio::spawn(async move {
        let mut clone = client.clone();
        clone.ready().await?.call(again).await?;
        client.oneshot(request).await.map(|r| r.status())
    });
    assert_eq!(spawned.await.unwrap().unwrap(), 200);
}

#[tokio::test]
async fn a_streaming_post_with_trailers_is_sent_again_byte_for_byte() {
    let server = Server::start(|number, _| Reply::status(if number < 3 { 502 } else { 201 })).await;
    let stack = stack().with_idempotency_key(IdempotencyKeyLayer::new());
    let client = stack.build().unwrap().layer(h1_client());

    let trailers =
        HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("9"))]);
    let request = Request::post(server.uri("/upload?part=1"))
        .header(TRAILER, "x-sum")
        .header("x-note", "kept")
        .body(streamed(&["one ", "two ", "three"], trailers.clone()))
        .unwrap();
    let response = tokio::spawn(async move { client.oneshot(request).await });
    let response = response.await.unwrap().unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(RetryInfo::of(&response).attempts(), 3);

    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    for attempt in &seen {
        assert_eq!(attempt.body, "one two three");
        assert_eq!(attempt.trailers.as_ref(), Some(&trailers));
        assert_eq!(attempt.head.uri, "/upload?part=1");
        assert_eq!(attempt.head.headers, seen[0].head.headers);
        assert!(attempt.header("idempotency-key").is_some());
    }
}

#[tokio::test]
async fn a_small_discarded_body_is_drained_and_its_connection_used_again() {
    let server = Server::start(|number, _| match number {
        1 => Reply::status(503).with_late_body(b"try later"),
        _ => Reply::status(503).with_body("the last word".repeat(1000)),
    })
    .await;
    let client = ServiceBuilder::new()
        .retry(brisk_retry().with_max_attempts(2).unwrap())
        .service(h1_client());

    let response = client.oneshot(get(&server.uri("/"))).await.unwrap();
    assert_eq!((server.requests(), server.connections()), (2, 1));
    // The last answer is a failure as well. The caller gets it whole.
    assert_eq!(response.status(), 503);
    assert_eq!(text(response).await, "the last word".repeat(1000));
}

#[tokio::test]
async fn a_large_discarded_body_is_dropped_with_its_connection() {
    let large = "x".repeat(1 << 20);
    let body = large.clone();
    let server = Server::start(move |number, _| match number {
        1 => Reply::status(503).with_body(body.clone()),
        _ => Reply::status(200).with_body(body.clone()),
    })
    .await;
    let client = ServiceBuilder::new()
        .retry(brisk_retry())
        .service(h1_client());

    let response = client.oneshot(get(&server.uri("/"))).await.unwrap();
    assert_eq!((server.requests(), server.connections()), (2, 2));
    assert_eq!(text(response).await, large);
}

#[tokio::test]
async fn an_unkeyed_post_that_was_never_sent_is_sent_again() {
    let (socket, address) = nobody_listens();
    let client = stack().build().unwrap().layer(h1_client());
    let uri = format!("http://{address}/charges");
    let error = client.clone().oneshot(post(&uri)).await.unwrap_err();
    assert_eq!(error.attempts(), Some(3));
    assert_eq!(error.stop_reason(), Some(StopReason::AttemptsExhausted));

    // A server starts to listen just before the second attempt.
    let (socket, server) = (Mutex::new(Some(socket)), Arc::new(OnceLock::new()));
    let start = Arc::clone(&server);
    let retry = brisk_retry().with_on_retry(move |_| {
        if let Some(socket) = socket.lock().unwrap().take() {
            let listener = socket.listen(8).unwrap();
            let _ = start.set(Server::on(listener, |_, _| Reply::status(201)));
        }
    });
    let client = ServiceBuilder::new().retry(retry).service(h1_client());
    let response = client.oneshot(post(&uri)).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(server.get().unwrap().requests(), 1);
}

#[tokio::test]
async fn an_end_after_the_request_is_sent_again_only_with_a_key() {
    let server = Server::start(|_, _| Reply::Close).await;
    let client = stack().build().unwrap().layer(h1_client());

    let uri = server.uri("/charges");
    let error = client.clone().oneshot(post(&uri)).await.unwrap_err();
    assert_eq!(error.stop_reason(), Some(StopReason::NotIdempotent));
    assert_eq!(server.requests(), 1);

    let error = client.oneshot(keyed_post(&uri)).await.unwrap_err();
    assert_eq!(error.stop_reason(), Some(StopReason::AttemptsExhausted));
    assert_eq!(server.requests(), 1 + 3);
}

#[tokio::test]
async fn a_reset_after_the_request_is_sent_again_only_with_a_key() {
    let server = RawServer::resetting().await;
    let client = stack().build().unwrap().layer(h1_client());

    let uri = server.uri("/charges");
    let error = client.clone().oneshot(post(&uri)).await.unwrap_err();
    assert_eq!(error.stop_reason(), Some(StopReason::NotIdempotent));
    assert_eq!(server.requests(), 1);

    let error = client.oneshot(keyed_post(&uri)).await.unwrap_err();
    assert_eq!(error.attempts(), Some(3));
    assert_eq!(server.requests(), 1 + 3);
}

#[tokio::test]
async fn a_wrong_scheme_is_tried_once() {
    let client = stack().build().unwrap().layer(h1_client());
    let error = client.oneshot(get("ftp://127.0.0.1/")).await.unwrap_err();
    assert_eq!(error.attempts(), Some(1));
    assert_eq!(error.stop_reason(), Some(StopReason::Permanent));
}

#[tokio::test]
async fn a_server_that_asks_for_a_pause_gets_one_and_no_other_server_waits() {
    // The first pause is longer than the test; the other one has an end.
    let busy = Server::start(|number, _| {
        let pause = if number == 1 { "25" } else { "1" };
        Reply::status(429).with_header("retry-after", pause)
    })
    .await;
    let idle = Server::start(|_, _| Reply::status(200)).await;

    // One permit for both servers: a call that holds it while it waits stops the other call.
    let limiter = Limiter::new(1).unwrap();
    let client = ServiceBuilder::new()
        .total_timeout(Duration::from_secs(30))
        .retry(brisk_retry().with_max_attempts(2).unwrap())
        .concurrency_limit(ConcurrencyLimitLayer::from(limiter.clone()))
        .throttle(ThrottleLayer::per_origin(Rate::UNLIMITED))
        .attempt_timeout(Duration::from_secs(10))
        .service(h1_client());

    let waiting = tokio::spawn(client.clone().oneshot(get(&busy.uri("/"))));
    eventually("the pause began", || {
        busy.requests() == 1 && limiter.in_flight() == 0
    })
    .await;
    for _ in 0..50 {
        let response = client.clone().oneshot(get(&idle.uri("/"))).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    assert!(!waiting.is_finished());
    assert_eq!((busy.requests(), idle.requests()), (1, 50));
    waiting.abort();
}

#[tokio::test]
async fn a_retry_comes_no_earlier_than_the_server_asked_for() {
    let server = Server::start(|_, _| Reply::status(429).with_header("retry-after", "1")).await;
    let client = ServiceBuilder::new()
        .retry(brisk_retry().with_max_attempts(2).unwrap())
        .throttle(ThrottleLayer::per_origin(Rate::UNLIMITED))
        .service(h1_client());
    let start = Instant::now();
    let response = client.oneshot(get(&server.uri("/"))).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        (response.status(), server.requests()),
        (429.try_into().unwrap(), 2)
    );
    let info = RetryInfo::of(&response);
    assert_eq!(
        (info.attempts(), info.stop_reason()),
        (2, StopReason::AttemptsExhausted)
    );
    assert!(info.waited() >= Duration::from_millis(900)); // the wait is the server's, not the brisk backoff
    assert!(info.not_before().is_some());
}

#[tokio::test]
async fn a_closed_bucket_makes_the_next_call_wait_outside_of_the_limit_too() {
    const PAUSE: Duration = Duration::from_secs(2);
    let server = Server::start(|number, _| match number {
        1 => Reply::status(429).with_header("retry-after", "2"),
        _ => Reply::status(200),
    })
    .await;
    let limiters = Keyed::per_origin(Limiter::new(1).unwrap());
    let stack = stack().with_concurrency_limit(ConcurrencyLimitLayer::of(limiters.clone()));
    let client = stack.build().unwrap().layer(h1_client());

    let uri = server.uri("/");
    let start = Instant::now();
    let first = tokio::spawn(client.clone().oneshot(get(&uri)));
    eventually("the bucket is closed", || {
        server.requests() >= 1 && limiters.in_flight() == 0
    })
    .await;
    let second = tokio::spawn(client.oneshot(get(&uri)));
    while start.elapsed() < PAUSE {
        sleep(Duration::from_millis(20)).await;
        let seen = (limiters.in_flight(), limiters.waiting());
        // An observation counts only if the pause, which began after the start, was certainly not
        // over.
        if start.elapsed() < PAUSE {
            assert_eq!(seen, (0, 0));
        }
    }

    for response in [first.await, second.await] {
        assert_eq!(response.unwrap().unwrap().status(), 200);
    }
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn a_dripping_body_ends_at_the_total_timeout_and_closes_the_connection() {
    let server = Server::start(|_, _| Reply::status(200).with_drip()).await;
    let stack = stack()
        .with_total_timeout(Duration::from_millis(300))
        .with_attempt_timeout(Duration::from_millis(300));
    let client = stack.build().unwrap().layer(h1_client());

    let start = Instant::now();
    // On a busy machine the time may run out before there is a response.
    let error = match client.oneshot(get(&server.uri("/"))).await {
        Ok(response) => response.into_body().collect().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(error.find::<Elapsed>().unwrap().scope(), Scope::Total);
    assert!(error.is_timeout());
    eventually("the connection is closed", || {
        server.open_connections() == 0
    })
    .await;
    assert!(server.requests() <= 1);
}

#[tokio::test]
async fn a_call_is_in_flight_until_its_body_was_read_or_dropped() {
    let server = Server::start(|_, _| Reply::status(200).with_body("x".repeat(1 << 20))).await;
    let limiter = Limiter::new(2).unwrap();
    let client = ConcurrencyLimitLayer::from(limiter.clone()).layer(h1_client());

    let uri = server.uri("/");
    let read = client.clone().oneshot(get(&uri)).await.unwrap();
    let dropped = client.clone().oneshot(get(&uri)).await.unwrap();
    assert_eq!((limiter.in_flight(), server.requests()), (2, 2));
    let third = tokio::spawn(client.clone().oneshot(get(&uri)));
    eventually("the third call waits", || limiter.waiting() == 1).await;

    assert_eq!(text(read).await.len(), 1 << 20);
    let third = third.await.unwrap().unwrap();
    assert_eq!((limiter.in_flight(), server.requests()), (2, 3));
    drop(dropped);
    assert_eq!(limiter.in_flight(), 1);
    drop(third);
    assert_eq!(limiter.in_flight(), 0);

    let empty = Server::start(|_, _| Reply::status(204)).await;
    let _unread = client.oneshot(get(&empty.uri("/"))).await.unwrap();
    assert_eq!(limiter.in_flight(), 0);
}
