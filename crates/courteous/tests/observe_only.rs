//! The standard stack that only observes: its calls are those without a stack.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::time::Duration;

use bytes::Bytes;
use courteous::{
    AnyBody, BoxError, Stack,
    concurrency::ConcurrencyLimitLayer,
    core::{Decision, ObserveOnly},
    idempotency::IdempotencyKeyLayer,
    retry::RetryLayer,
    throttle::ThrottleLayer,
    timeout::{AttemptTimeoutLayer, TotalTimeoutLayer},
};
use courteous_core::{Dice, Gate, RetryInfo};
use courteous_testkit::{Probe, Reply, TestBody};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep_until};
use tower::{Service, ServiceExt};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A server that is slow, fails, refuses and closes, as the number of a call says.
fn server() -> Probe {
    Probe::new().otherwise(|seen| {
        let number: u32 = seen.uri.path()[1..].parse().unwrap();
        let reply = match number % 8 {
            0 => Reply::status(503),
            1 => Reply::status(429).header("retry-after", "1"),
            2 => Reply::error(),
            3 => Reply::ok().body(
                TestBody::new()
                    .chunk("some")
                    .pause(6 * SECOND)
                    .chunk("more"),
            ),
            4 => Reply::status(404),
            _ => Reply::ok().body("well"),
        };
        reply.after(number * 7919 % 4000 * MS)
    })
}

/// The strictest settings: each layer would have much to do.
fn strict() -> Stack {
    let limit = ConcurrencyLimitLayer::per_origin(2)
        .unwrap()
        .with_max_waiting(2);
    Stack::new()
        .with_idempotency_key(IdempotencyKeyLayer::new())
        .with_total_timeout(4 * SECOND)
        .with_retry(RetryLayer::new().with_dice(Dice::seeded(1)))
        .with_concurrency_limit(limit)
        .with_throttle(ThrottleLayer::per_origin("2/s".parse().unwrap()).with_max_wait(5 * SECOND))
        .with_attempt_timeout(AttemptTimeoutLayer::new(2 * SECOND).with_grpc_timeout())
}

/// When a call ended, after the start, and how.
type Came = (Duration, Result<(StatusCode, HeaderMap, Vec<u8>), ()>);

/// 60 calls, 100 ms apart.
async fn run<S, RB>(service: S) -> Vec<Came>
where
    S: Service<Request<Full<Bytes>>, Response = Response<RB>, Error: Into<BoxError>> + Clone,
    RB: http_body::Body<Error: std::fmt::Debug>,
{
    let start = Instant::now();
    let calls = (0..60).map(|i: u32| {
        let service = service.clone();
        async move {
            sleep_until(start + i * 100 * MS).await;
            let method = [Method::GET, Method::POST][i as usize % 2].clone();
            let request = Request::builder()
                .method(method)
                .uri(format!("http://api.test/{i}"))
                .body(Full::from("payload"))
                .unwrap();
            let came = match service.oneshot(request).await {
                Ok(response) => {
                    assert!(response.extensions().get::<RetryInfo>().is_none());
                    assert!(response.extensions().get::<Gate>().is_none());
                    let (parts, body) = response.into_parts();
                    let body = body.collect().await.map_err(|_| ());
                    body.map(|body| (parts.status, parts.headers, body.to_bytes().to_vec()))
                }
                Err(_) => Err(()),
            };
            (start.elapsed(), came)
        }
    });
    futures_util::future::join_all(calls).await
}

/// What each request that was sent looked like, and when.
fn sent(probe: &Probe, start: Instant) -> Vec<(Duration, Method, String, HeaderMap)> {
    let seen = probe.seen();
    seen.into_iter()
        .map(|seen| {
            let uri = seen.uri.to_string();
            (seen.at - start, seen.method, uri, seen.headers)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_only_observes_is_the_client_alone() {
    let (bare, start) = (server(), Instant::now());
    let without = run(bare.clone()).await;
    let without_sent = sent(&bare, start);

    let switch = ObserveOnly::new();
    let stack = strict().observe_only(switch.clone()).build().unwrap();
    let (probe, start) = (server(), Instant::now());
    assert_eq!(run(stack.layer(probe.clone())).await, without);
    assert_eq!(sent(&probe, start), without_sent);
    for seen in probe.seen() {
        assert_eq!(
            (seen.context.deadline(), seen.context.attempt()),
            (None, None)
        );
    }
    for decision in [
        Decision::ConcurrencyWait,
        Decision::ConcurrencyReject,
        Decision::ThrottleWait,
        Decision::ThrottleReject,
        Decision::Retry,
        Decision::BudgetReject,
        Decision::TotalTimeout,
        Decision::AttemptTimeout,
        Decision::Key,
    ] {
        assert!(switch.count(decision) > 0, "{decision:?}: {switch:?}");
    }
    assert_eq!(switch.count(Decision::Key), 30);
    assert_eq!(stack.observe_only_switch(), Some(&switch));
}

#[tokio::test(start_paused = true)]
async fn the_order_in_which_a_stack_and_its_layers_are_told_does_not_matter() {
    let stalled = || Probe::new().otherwise(|_| Reply::ok().after(SECOND));
    for stack in [
        Stack::new()
            .with_total_timeout(500 * MS)
            .with_attempt_timeout(500 * MS)
            .observe_only(true),
        Stack::new()
            .observe_only(true)
            .with_total_timeout(500 * MS)
            .with_attempt_timeout(500 * MS),
    ] {
        let client = stack.build().unwrap().layer(stalled());
        let request = Request::get("http://api.test/").body(Full::<Bytes>::default());
        assert!(client.oneshot(request.unwrap()).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_layer_may_be_enforced_in_a_stack_that_only_observes() {
    let switch = ObserveOnly::new();
    let throttle = || ThrottleLayer::per_origin("1/s".parse().unwrap()).observe_only(false);
    for stack in [
        strict()
            .observe_only(switch.clone())
            .with_throttle(throttle()),
        strict()
            .with_throttle(throttle())
            .observe_only(switch.clone()),
    ] {
        let probe = Probe::new().otherwise(|_| Reply::status(503));
        let client = stack.build().unwrap().layer(probe.clone());
        let start = Instant::now();
        for _ in 0..3 {
            let request = Request::get("http://api.test/").body(Full::<Bytes>::default());
            let response = client.clone().oneshot(request.unwrap()).await.unwrap();
            assert_eq!(response.status(), 503);
        }
        assert_eq!(start.elapsed(), 2 * SECOND, "the throttle is enforced");
        assert_eq!(probe.calls(), 3, "the retry is not");
    }
    assert!(switch.count(Decision::Retry) > 0);
    assert_eq!(switch.count(Decision::ThrottleWait), 0);
}

#[tokio::test(start_paused = true)]
async fn a_single_layer_may_observe_in_a_stack_that_enforces() {
    let switch = ObserveOnly::new();
    let retry = RetryLayer::new().observe_only(switch.clone());
    let stack = Stack::new().with_retry(retry).build().unwrap();
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let request = Request::get("http://api.test/").body(Full::<Bytes>::default());
    stack
        .layer(probe.clone())
        .oneshot(request.unwrap())
        .await
        .unwrap();
    assert_eq!((probe.calls(), switch.count(Decision::Retry)), (1, 1));
    assert_eq!(stack.observe_only_switch(), None);
    assert!(probe.seen()[0].context.deadline().is_some());
}

#[tokio::test(start_paused = true)]
async fn one_switch_enforces_the_whole_stack_without_a_restart() {
    let switch = ObserveOnly::new();
    let stack = Stack::new()
        .with_total_timeout(TotalTimeoutLayer::new(20 * SECOND))
        .observe_only(switch.clone());
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let client = stack.build().unwrap().layer(probe.clone());
    let send = async || {
        let request = Request::get("http://api.test/").body(Full::<Bytes>::default());
        client.clone().oneshot(request.unwrap()).await.unwrap()
    };
    send().await;
    assert_eq!(probe.calls(), 1);
    switch.set(false);
    assert_eq!(RetryInfo::of(&send().await).attempts(), 3);
    assert_eq!(probe.calls(), 4);
    assert!(probe.seen()[3].context.deadline().is_some());
    switch.set(true);
    send().await;
    assert_eq!(probe.calls(), 5);
}

/// A retry tells the attempt timeout how an upload goes on, also if both only observe.
#[tokio::test(start_paused = true)]
async fn a_slow_upload_is_no_timeout() {
    let switch = ObserveOnly::new();
    let stack = || Stack::new().with_attempt_timeout(2 * SECOND);
    for stack in [stack(), stack().observe_only(switch.clone())] {
        let probe = Probe::new().reading_bodies();
        let client = stack.build().unwrap().layer(probe.clone());
        let slow = (0..10).fold(TestBody::new(), |body, _| body.pause(SECOND).chunk("more"));
        let request = Request::put("http://api.test/").body(AnyBody::new(slow));
        client.oneshot(request.unwrap()).await.unwrap();
        assert!(probe.seen()[0].body.ended);
    }
    assert_eq!(switch.count(Decision::AttemptTimeout), 0);
}

/// Found in the cause of an error: that of the client, and nothing of ours.
#[tokio::test(start_paused = true)]
async fn the_error_is_the_clients() {
    let client = Stack::new().observe_only(true).build().unwrap();
    let probe = Probe::new().otherwise(|_| Reply::error());
    let request = Request::get("http://api.test/").body(Full::<Bytes>::default());
    let error = client
        .layer(probe)
        .oneshot(request.unwrap())
        .await
        .map(drop);
    let error = error.unwrap_err();
    assert!(!error.is_timeout() && !error.is_rejected());
    assert!(courteous::find_cause::<courteous_testkit::ProbeError>(&error).is_some());
    assert_eq!(error.attempts(), None);
}
