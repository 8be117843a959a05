//! The layers around hyper-util's client over HTTP/2, on loopback sockets.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod net;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use courteous::{
    ServiceBuilder, ServiceBuilderExt, Stack,
    concurrency::{ConcurrencyLimitLayer, Limiter},
    core::{Elapsed, Scope},
    idempotency::IdempotencyKeyLayer,
    retry::{RetryInfo, StopReason},
};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Request, Uri, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::{
    client::legacy::{Client, connect::Connect},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpStream, time::sleep};
use tower::{ServiceExt, service_fn};

use crate::net::{
    RawServer, Reply, Server, brisk_retry, eventually, h2_client, nobody_listens, streamed, text,
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
async fn a_streaming_post_with_trailers_is_sent_again_byte_for_byte() {
    let server = Server::start(|number, _| Reply::status(if number < 3 { 502 } else { 201 })).await;
    let stack = stack().with_idempotency_key(IdempotencyKeyLayer::new());
    let client = stack.build().unwrap().layer(h2_client());

    let trailers =
        HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("9"))]);
    let request = Request::post(server.uri("/upload"))
        .body(streamed(&["one ", "two ", "three"], trailers.clone()))
        .unwrap();
    let response = tokio::spawn(async move { client.oneshot(request).await });
    let response = response.await.unwrap().unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(RetryInfo::of(&response).attempts(), 3);

    let seen = server.seen();
    assert_eq!((seen.len(), server.connections()), (3, 1));
    for attempt in &seen {
        assert_eq!(attempt.head.version, Version::HTTP_2);
        assert_eq!(attempt.body, "one two three");
        assert_eq!(attempt.trailers.as_ref(), Some(&trailers));
        assert_eq!(attempt.head.headers, seen[0].head.headers);
        assert!(attempt.header("idempotency-key").is_some());
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_even_as_an_unkeyed_post() {
    let server = Server::start(|number, _| match number {
        1 => Reply::RefuseStream,
        _ => Reply::status(201),
    })
    .await;
    let client = stack().build().unwrap().layer(h2_client());

    let response = client.oneshot(post(&server.uri("/"))).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(server.requests(), 2);
    assert_eq!(RetryInfo::of(&response).attempts(), 2);
}

#[tokio::test]
async fn a_stream_above_the_last_of_a_goaway_is_sent_again_even_as_an_unkeyed_post() {
    let server = RawServer::going_away(0).await;
    let client = stack().build().unwrap().layer(h2_client());

    let error = client.oneshot(post(&server.uri("/"))).await.unwrap_err();
    assert_eq!(error.attempts(), Some(3));
    assert_eq!(error.stop_reason(), Some(StopReason::AttemptsExhausted));
    assert!(error.find::<h2::Error>().unwrap().is_go_away());
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn a_stream_that_a_goaway_covers_is_sent_again_only_with_a_key() {
    let server = RawServer::going_away(1).await;
    let client = stack().build().unwrap().layer(h2_client());

    let uri = server.uri("/");
    let error = client.clone().oneshot(post(&uri)).await.unwrap_err();
    assert_eq!(error.stop_reason(), Some(StopReason::NotIdempotent));
    assert_eq!(server.requests(), 1);

    let error = client.oneshot(keyed_post(&uri)).await.unwrap_err();
    assert_eq!(error.attempts(), Some(3));
    assert_eq!(server.requests(), 1 + 3);
}

#[tokio::test]
async fn another_reset_is_sent_again_only_with_a_key() {
    let server = Server::start(|_, _| Reply::Close).await;
    let client = stack().build().unwrap().layer(h2_client());

    let uri = server.uri("/");
    let error = client.clone().oneshot(post(&uri)).await.unwrap_err();
    assert_eq!(error.stop_reason(), Some(StopReason::NotIdempotent));
    assert_eq!(server.requests(), 1);

    let error = client.oneshot(keyed_post(&uri)).await.unwrap_err();
    assert_eq!(error.attempts(), Some(3));
    assert_eq!(server.requests(), 1 + 3);
}

#[tokio::test]
async fn an_attempt_that_hangs_ends_in_time_for_another() {
    let server = Server::start(|number, _| match number {
        1 => Reply::Hang,
        _ => Reply::status(201),
    })
    .await;
    let stack = stack()
        .with_idempotency_key(IdempotencyKeyLayer::new())
        // As many as a busy machine needs.
        .with_retry(brisk_retry().with_max_attempts(20).unwrap())
        .with_attempt_timeout(Duration::from_millis(500));
    let client = stack.build().unwrap().layer(h2_client());

    let response = client.oneshot(post(&server.uri("/"))).await.unwrap();
    assert_eq!(response.status(), 201);
    let seen = server.seen();
    assert!(seen.len() >= 2, "{seen:?}");
    for attempt in &seen {
        let key = attempt.header("idempotency-key");
        assert!(key.is_some() && key == seen[0].header("idempotency-key"));
    }
}

#[tokio::test]
async fn a_dripping_body_ends_at_the_total_timeout_and_its_stream_alone_is_reset() {
    let server = Server::start(|number, _| match number {
        1 => Reply::status(200).with_drip(),
        _ => Reply::status(200).with_body("hello"),
    })
    .await;
    // Long enough for a response, even on a busy machine; then its body drips.
    let limit = Duration::from_secs(3);
    let hurried = stack()
        .with_total_timeout(limit)
        .with_attempt_timeout(limit);
    let (hurried, client) = (hurried.build().unwrap(), h2_client());
    let patient = stack().build().unwrap().layer(client.clone());
    let hurried = hurried.layer(client);

    let uri = server.uri("/");
    let dripping = hurried.oneshot(get(&uri)).await.unwrap();
    assert_eq!(server.open_bodies(), 1);
    let error = dripping.into_body().collect().await.unwrap_err();
    assert_eq!(error.find::<Elapsed>().unwrap().scope(), Scope::Total);
    eventually("the stream is reset", || server.open_bodies() == 0).await;

    let response = patient.oneshot(get(&uri)).await.unwrap();
    assert_eq!(text(response).await, "hello");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn streams_are_in_flight_until_their_bodies_end() {
    let server = Server::start(|_, _| Reply::status(200).with_drip()).await;
    let limiter = Limiter::new(3).unwrap();
    let client = ServiceBuilder::new()
        .retry(brisk_retry())
        .concurrency_limit(ConcurrencyLimitLayer::from(limiter.clone()))
        .service(h2_client());

    let uri = server.uri("/");
    let mut open = Vec::new();
    for number in 1..=3 {
        open.push(client.clone().oneshot(get(&uri)).await.unwrap());
        assert_eq!(
            (limiter.in_flight(), server.open_bodies()),
            (number, number)
        );
    }
    let waiting = tokio::spawn(client.oneshot(get(&uri)));
    eventually("the fourth call waits", || limiter.waiting() == 1).await;
    assert_eq!(server.requests(), 3);

    open.clear();
    let response = waiting.await.unwrap().unwrap();
    assert_eq!((limiter.in_flight(), server.requests()), (1, 4));
    drop(response);
    assert_eq!(limiter.in_flight(), 0);
}

/// A connector to `server`. Its first connection takes `first`, and the others take no time.
fn slow_connector(
    server: &Server,
    first: Duration,
) -> impl Connect + Clone + Send + Sync + 'static + use<> {
    let address = server.uri("").replace("http://", "");
    let connections = Arc::new(AtomicUsize::new(0));
    service_fn(move |_: Uri| {
        let is_first = connections.fetch_add(1, Ordering::SeqCst) == 0;
        let address = address.clone();
        Box::pin(async move {
            if is_first {
                sleep(first).await;
            }
            TcpStream::connect(address).await.map(TokioIo::new)
        })
    })
}

fn over<C>(connector: C) -> Client<C, Empty<Bytes>>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build(connector)
}

// hyper-util makes all calls wait for the connection that the first call opens.
#[tokio::test]
async fn calls_that_wait_for_a_connection_that_is_refused_are_judged_as_the_first_one() {
    let (_socket, address) = nobody_listens();
    for own_repetition in [true, false] {
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .retry_canceled_requests(own_repetition)
            .build_http();
        let client = stack().build().unwrap().layer(client);
        let uri = format!("http://{address}/");
        let calls = (0..20).map(|_| tokio::spawn(client.clone().oneshot(get(&uri))));
        for result in join_all(calls.collect::<Vec<_>>()).await {
            let reason = result.unwrap().unwrap_err().stop_reason();
            assert_eq!(reason, Some(StopReason::AttemptsExhausted));
        }
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_while_it_connects_ends_no_other_call() {
    let server = Server::start(|_, _| Reply::status(200)).await;
    let client = over(slow_connector(&server, Duration::from_secs(30)));
    let client = stack().build().unwrap().layer(client);
    let call = || tokio::spawn(client.clone().oneshot(get(&server.uri("/"))));
    let first = call();
    sleep(Duration::from_millis(50)).await;
    let others: Vec<_> = (0..10).map(|_| call()).collect();
    sleep(Duration::from_millis(50)).await;
    first.abort();
    for result in join_all(others).await {
        assert_eq!(result.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_attempt_timeout_of_the_call_that_connects_ends_no_other_call() {
    let server = Server::start(|_, _| Reply::status(200)).await;
    let client = over(slow_connector(&server, Duration::from_secs(30)));
    let stack = stack().with_attempt_timeout(Duration::from_secs(1));
    let client = stack.build().unwrap().layer(client);
    let call = || tokio::spawn(client.clone().oneshot(get(&server.uri("/"))));
    let first = call();
    sleep(Duration::from_millis(200)).await;
    let others: Vec<_> = (0..10).map(|_| call()).collect();
    for result in join_all(others.into_iter().chain([first])).await {
        assert_eq!(result.unwrap().unwrap().status(), 200);
    }
}
