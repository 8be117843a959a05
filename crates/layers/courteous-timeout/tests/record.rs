//! What the timeouts write into the record of a call that a layer outside has made.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{convert::Infallible, future::pending, time::Duration};

use common::{Bytes, Drip, Late, MS, SECOND};
use courteous_core::{BoxError, CallContext, CallRecord, KeyClaim, NoteKind, ObserveOnly, Scope};
use courteous_timeout::{
    AttemptTimeoutLayer, CallTimeout, DeadlineFormat, PerAttemptTimeout, TotalTimeoutLayer,
};
use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

type Sent = Request<Full<Bytes>>;

fn recorded() -> (CallRecord, Sent) {
    let mut request = common::request();
    let record = CallRecord::of_or_insert(request.extensions_mut());
    (record, request)
}

/// What the timeouts have noted, and when.
fn told(record: &CallRecord, start: Instant) -> Vec<(Duration, Scope)> {
    let note = |note: &courteous_core::Note| match note.kind() {
        NoteKind::Elapsed(scope) => (note.at() - start, scope),
        other => panic!("{other:?}"),
    };
    record.notes().iter().map(note).collect()
}

async fn never(_: Sent) -> Result<Response<Full<Bytes>>, BoxError> {
    pending().await
}

async fn answer(_: Sent) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::default()))
}

#[tokio::test(start_paused = true)]
async fn a_total_timeout_that_strikes_is_noted_once() {
    let start = Instant::now();
    let (record, request) = recorded();
    let service = TotalTimeoutLayer::new(SECOND).layer(service_fn(never));
    service.oneshot(request).await.unwrap_err();
    assert_eq!(told(&record, start), [(SECOND, Scope::Total)]);
}

#[tokio::test(start_paused = true)]
async fn of_nested_timeouts_the_one_that_strikes_says_so() {
    for (total, attempt, expected) in [
        (1, 5, Scope::Total),
        (5, 1, Scope::Attempt),
        (1, 1, Scope::Total),
    ] {
        let start = Instant::now();
        let (record, request) = recorded();
        let service = ServiceBuilder::new()
            .layer(TotalTimeoutLayer::new(SECOND * total))
            .layer(AttemptTimeoutLayer::new(SECOND * attempt))
            .service_fn(never);
        service.oneshot(request).await.unwrap_err();
        assert_eq!(told(&record, start), [(SECOND, expected)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_ready_too_late_is_noted_and_not_sent() {
    let late = Late::new(2 * SECOND);
    let (record, mut request) = recorded();
    let start = Instant::now();
    CallContext::edit(request.extensions_mut()).tighten(start);
    let service = TotalTimeoutLayer::new(SECOND).layer(service_fn(answer));
    service.oneshot(request).await.unwrap_err();
    assert_eq!(told(&record, start), [(Duration::ZERO, Scope::Total)]);

    let (record, request) = recorded();
    let service = TotalTimeoutLayer::new(SECOND).layer(late.clone());
    service.oneshot(request).await.unwrap_err();
    assert_eq!(told(&record, start), [(SECOND, Scope::Total)]);
    assert_eq!(late.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_has_no_time_left_is_noted() {
    let (record, mut request) = recorded();
    let start = Instant::now();
    CallContext::edit(request.extensions_mut()).tighten(start);
    let service = AttemptTimeoutLayer::new(SECOND).layer(service_fn(answer));
    service.oneshot(request).await.unwrap_err();
    assert_eq!(told(&record, start), [(Duration::ZERO, Scope::Total)]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_is_noted_after_the_head() {
    let layer = AttemptTimeoutLayer::new(SECOND).with_idle_timeout(3 * SECOND);
    let silent = service_fn(async |_| {
        let body = Drip::new([(60 * SECOND, http_body::Frame::data(&b"."[..]))]);
        Ok::<_, Infallible>(Response::new(body))
    });
    let (record, request) = recorded();
    let start = Instant::now();
    let response = layer.layer(silent).oneshot(request).await.unwrap();
    assert!(record.notes().is_empty());
    sleep(SECOND).await;
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(told(&record, start), [(4 * SECOND, Scope::Idle)]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_that_the_time_which_it_was_told_is_over_is_noted() {
    let header = HeaderName::from_static("x-time-left");
    let layer =
        AttemptTimeoutLayer::new(SECOND).with_deadline_header(header, DeadlineFormat::Millis);
    let server = service_fn(async |_: Sent| {
        sleep(500 * MS).await;
        let response = Response::builder().status(504);
        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
    });
    let (record, request) = recorded();
    let start = Instant::now();
    layer.layer(server).oneshot(request).await.unwrap();
    assert_eq!(told(&record, start), [(500 * MS, Scope::Attempt)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_in_time_or_only_observed_writes_nothing() {
    let (record, request) = recorded();
    let total = TotalTimeoutLayer::new(SECOND);
    total
        .layer(service_fn(answer))
        .oneshot(request)
        .await
        .unwrap();
    let (observed, request) = recorded();
    let slow = service_fn(async |request| {
        sleep(2 * SECOND).await;
        answer(request).await
    });
    let service = ServiceBuilder::new()
        .layer(total.observe_only(ObserveOnly::new()))
        .layer(AttemptTimeoutLayer::new(SECOND).observe_only(ObserveOnly::new()))
        .service(slow);
    service.oneshot(request).await.unwrap();
    assert!(record.notes().is_empty() && observed.notes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_asks_for_is_found_beside_the_record_and_the_key() {
    for claimed in [false, true] {
        let (record, mut request) = recorded();
        if claimed {
            request.extensions_mut().insert(KeyClaim::new());
        }
        let mut shorter = request.clone();
        let start = Instant::now();
        request.extensions_mut().insert(CallTimeout(2 * SECOND));
        let service = TotalTimeoutLayer::new(SECOND).layer(service_fn(never));
        service.oneshot(request).await.unwrap_err();
        shorter
            .extensions_mut()
            .insert(PerAttemptTimeout(3 * SECOND));
        let service = AttemptTimeoutLayer::new(SECOND).layer(service_fn(never));
        service.oneshot(shorter).await.unwrap_err();
        let expected = [(2 * SECOND, Scope::Total), (5 * SECOND, Scope::Attempt)];
        assert_eq!(told(&record, start), expected);
    }
}
