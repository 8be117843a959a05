//! The layers around reqwest's client, through its adapter, on loopback sockets.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod net;

use std::time::Duration;

use bytes::Bytes;
use courteous::{
    ServiceBuilder, ServiceBuilderExt, Stack,
    core::{Elapsed, Scope},
    idempotency::IdempotencyKeyLayer,
    reqwest::{ReqwestService, into_http},
    retry::{RetryInfo, RetryLayer, StopReason},
    throttle::ThrottleLayer,
};
use futures_util::stream;
use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use reqwest::{Body, Client, ClientBuilder, redirect, retry};
use tower::ServiceExt;

use crate::net::{RawServer, Reply, Server, brisk_retry, eventually, nobody_listens, text};

fn stack() -> Stack {
    Stack::new().with_retry(brisk_retry())
}

/// As the adapter's page advises: retries and redirects are left to the outside.
fn builder() -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
}

fn h1_client() -> ReqwestService {
    builder().http1_only().build().unwrap().into()
}

fn h2_client() -> ReqwestService {
    builder().http2_prior_knowledge().build().unwrap().into()
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::default()).unwrap()
}

fn post(uri: &str) -> Request<Body> {
    Request::post(uri).body("amount=100".into()).unwrap()
}

fn keyed_post(uri: &str) -> Request<Body> {
    let mut request = post(uri);
    let key = HeaderValue::from_static("one-and-only");
    request.headers_mut().insert("idempotency-key", key);
    request
}

#[tokio::test]
async fn the_standard_stack_retries_what_a_server_fails_at() {
    let server = Server::start(|number, _| match number {
        1 => Reply::status(503).with_body("try later"),
        _ => Reply::status(200).with_body("hello"),
    })
    .await;
    let client = stack().build().unwrap().layer(h1_client());

    let uri = server.uri("/greeting");
    let response = client.oneshot(get(&uri)).await.unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 2);
    assert_eq!((server.requests(), server.connections()), (2, 1));
    assert_eq!(text(response).await, "hello");
}

#[tokio::test]
async fn a_call_can_be_spawned() {
    let server = Server::start(|_, _| Reply::status(200)).await;
    let client = ServiceBuilder::new()
        .idempotency_key(IdempotencyKeyLayer::new())
        .total_timeout(Duration::from_secs(30))
        .retry(RetryLayer::new())
        .throttle(ThrottleLayer::new("1000/s".parse().unwrap()))
        .attempt_timeout(Duration::from_secs(10))
        .service(h1_client());
    let request = get(&server.uri("/"));
    let spawned = tokio::spawn(async move { client.oneshot(request).await.map(|r| r.status()) });
    assert_eq!(spawned.await.unwrap().unwrap(), 200);
}

#[tokio::test]
async fn a_body_of_bytes_and_a_streaming_one_are_sent_again_byte_for_byte() {
    let server = Server::start(|number, _| Reply::status(if number % 3 == 0 { 201 } else { 502 }));
    let server = server.await;
    let stack = stack().with_idempotency_key(IdempotencyKeyLayer::new());
    let client = stack.build().unwrap().layer(h1_client());

    let chunks = ["amount", "=", "100"].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let streaming = Body::wrap_stream(stream::iter(chunks));
    for body in ["amount=100".into(), streaming] {
        let request = Request::post(server.uri("/charges")).body(body).unwrap();
        let response = client.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 201);
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 6);
    for call in seen.chunks(3) {
        for attempt in call {
            assert_eq!(attempt.body, "amount=100");
            assert_eq!(attempt.head.headers, call[0].head.headers);
        }
    }
    let key = |number: usize| seen[number].header("idempotency-key").unwrap();
    assert_ne!(key(0), key(3));
}

#[tokio::test]
async fn a_response_is_reqwests_again_if_wanted() {
    let server = Server::start(|_, _| Reply::status(200).with_body("hello")).await;
    let client = stack().build().unwrap().layer(h1_client());

    let uri = server.uri("/greeting");
    let response = client.oneshot(get(&uri)).await.unwrap();
    let response = reqwest::Response::from(response.map(Body::wrap));
    assert_eq!(response.url().as_str(), uri);
    assert_eq!(response.text().await.unwrap(), "hello");
}

#[tokio::test]
async fn an_unkeyed_post_that_was_never_sent_is_sent_again() {
    let (_socket, address) = nobody_listens();
    let client = stack().build().unwrap().layer(h1_client());
    let uri = format!("http://{address}/charges");
    let error = client.oneshot(post(&uri)).await.unwrap_err();
    assert_eq!(error.attempts(), Some(3));
    assert!(error.find::<reqwest::Error>().unwrap().is_connect());
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
    assert_eq!(error.attempts(), Some(3));
    assert_eq!(server.requests(), 1 + 3);
}

#[tokio::test]
async fn a_wrong_scheme_is_tried_once() {
    let client = stack().build().unwrap().layer(h1_client());
    for uri in ["ftp://127.0.0.1/", "https://127.0.0.1:1/"] {
        let error = client.clone().oneshot(get(uri)).await.unwrap_err();
        assert_eq!(error.attempts(), Some(1), "{uri}");
        assert_eq!(error.stop_reason(), Some(StopReason::Permanent), "{uri}");
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
async fn a_dripping_body_ends_at_the_total_timeout_and_closes_the_connection() {
    let server = Server::start(|_, _| Reply::status(200).with_drip()).await;
    let stack = stack()
        .with_total_timeout(Duration::from_millis(300))
        .with_attempt_timeout(Duration::from_millis(300));
    let client = stack.build().unwrap().layer(h1_client());

    // On a busy machine the time may run out before there is a response.
    let error = match client.oneshot(get(&server.uri("/"))).await {
        Ok(response) => response.into_body().collect().await.unwrap_err(),
        Err(error) => error,
    };
    let elapsed = error.find::<Elapsed>().unwrap();
    assert_eq!(elapsed.scope(), Scope::Total);
    eventually("the connection is closed", || {
        server.open_connections() == 0
    })
    .await;
}

#[tokio::test]
async fn the_timeout_of_a_reqwest_request_is_that_of_the_whole_call() {
    let server = Server::start(|_, _| Reply::Hang).await;
    let client = stack().build().unwrap().layer(h1_client());
    let timeout = Duration::from_millis(100);
    let request = || {
        let request = Client::new().get(server.uri("/")).timeout(timeout);
        request.build().unwrap()
    };
    for request in [into_http(request()).unwrap(), request().try_into().unwrap()] {
        let before = server.requests();
        let error = client.clone().oneshot(request).await.unwrap_err();
        assert!(error.is_timeout());
        let elapsed = Elapsed::new(timeout, Scope::Total);
        assert_eq!(error.find::<Elapsed>(), Some(&elapsed));
        assert_eq!(server.requests(), before + 1);
    }
}

#[tokio::test]
async fn the_clients_own_timeouts_are_timeouts() {
    let server = Server::start(|_, _| Reply::Hang).await;
    let timeout = Duration::from_millis(50);
    for builder in [builder().timeout(timeout), builder().read_timeout(timeout)] {
        let client = ReqwestService::from(builder.build().unwrap());
        let client = stack().build().unwrap().layer(client);
        let error = client.oneshot(get(&server.uri("/"))).await.unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(error.attempts(), Some(3));
    }
    // A failure for another reason is not a timeout.
    let (_socket, nobody) = nobody_listens();
    let client = stack().build().unwrap().layer(h1_client());
    let uri = format!("http://{nobody}/");
    let error = client.oneshot(get(&uri)).await.unwrap_err();
    assert!(!error.is_timeout());
}
