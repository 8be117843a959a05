//! Calls that are rejected instead of waiting.
#![allow(clippy::unwrap_used)]

mod common;

use std::{convert::Infallible, num::NonZeroUsize, time::Duration};

use common::{Body, Echo, call, reason, request};
use courteous_concurrency::{ConcurrencyLimitLayer, Limiter};
use courteous_core::{CallContext, RejectReason, Rejected};
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::time::{self, Instant};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn fail_fast_rejects_at_once_and_only_at_capacity() {
    let mut service = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .fail_fast()
        .layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let rejected = assert_ready!(call(&mut service).poll());
    assert_eq!(reason(rejected), Some(RejectReason::AtCapacity));
    drop(first);
    assert_ready_ok!(call(&mut service).poll());
}

#[tokio::test]
async fn fail_fast_rejects_nothing_while_there_is_room_however_long_the_task_runs() {
    let service = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .fail_fast()
        .layer(Echo);
    for _ in 0..10_000 {
        service.clone().oneshot(request()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_rejects_at_once() {
    let mut service = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .with_max_waiting(2)
        .layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let (mut second, third) = (call(&mut service), call(&mut service));
    assert_pending!(second.poll());
    let rejected = assert_ready!(call(&mut service).poll());
    assert_eq!(reason(rejected), Some(RejectReason::QueueFull));
    drop(third);
    let mut third = call(&mut service);
    assert_pending!(third.poll());
    drop(first);
    assert_ready_ok!(second.poll());
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_exactly_max_wait() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone())
        .with_max_wait(SECOND)
        .layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    let start = Instant::now();
    let rejected = service.call(request()).await;
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(reason(rejected), Some(RejectReason::MaxWait));
    assert_eq!((limiter.in_flight(), limiter.waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_permit_in_time_is_in_time() {
    let mut service = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .with_max_wait(SECOND)
        .layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let mut second = call(&mut service);
    assert_pending!(second.poll());
    time::sleep(SECOND - Duration::from_millis(1)).await;
    drop(first);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_polled_after_its_wait_is_not_sent_although_a_permit_is_there() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone())
        .with_max_wait(SECOND)
        .layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let mut late = call(&mut service);
    assert_pending!(late.poll());
    drop(first);
    time::sleep(2 * SECOND).await;
    let rejected = assert_ready!(late.poll());
    assert_eq!(reason(rejected), Some(RejectReason::MaxWait));
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_time_to_wait_a_call_is_rejected_at_once() {
    let mut service = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .with_max_wait(Duration::ZERO)
        .layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let rejected = assert_ready!(call(&mut service).poll());
    assert_eq!(reason(rejected), Some(RejectReason::MaxWait));
    drop(first);
    assert_ready_ok!(call(&mut service).poll());
}

#[tokio::test(start_paused = true)]
async fn the_longest_max_wait_is_no_bound() {
    let mut service = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .with_max_wait(Duration::MAX)
        .layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let mut second = call(&mut service);
    assert_pending!(second.poll());
    time::sleep(Duration::from_secs(60 * 60 * 24 * 365)).await;
    assert_pending!(second.poll());
    drop(first);
    assert_ready_ok!(second.poll());
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_the_deadline_of_its_call() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone())
        .with_max_wait(5 * SECOND)
        .layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    let start = Instant::now();
    let mut hurried = request();
    CallContext::edit(hurried.extensions_mut()).tighten(start + SECOND);
    let rejected = service.call(hurried.clone()).await;
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(reason(rejected), Some(RejectReason::Deadline));
    assert_eq!(limiter.waiting(), 0);

    // From now on the deadline is in the past.
    let rejected = assert_ready!(task::spawn(service.call(hurried)).poll());
    assert_eq!(reason(rejected), Some(RejectReason::Deadline));
}

#[tokio::test(start_paused = true)]
async fn with_a_response_for_those_rejected_the_error_stays_the_inner_services() {
    fn unavailable(rejected: &Rejected) -> Response<Body> {
        assert_eq!(rejected.reason(), RejectReason::MaxWait);
        let mut response = Response::new(Full::new(&b"busy"[..]));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    }
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone())
        .with_max_wait(SECOND)
        .reject_with(unavailable)
        .layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let rejected: Result<_, Infallible> = service.call(request()).await;
    assert_eq!(rejected.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(limiter.in_flight(), 1);
    drop(first);
    let response = service.call(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[test]
fn a_closure_answers_those_rejected_without_a_type_being_named() {
    let mut service = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .fail_fast()
        .reject_with(|rejected| {
            let reason = format!("{:?}", rejected.reason());
            Response::builder()
                .header("x-reason", reason)
                .body(Full::new(&b""[..]))
                .unwrap()
        })
        .layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    let rejected = assert_ready_ok!(call(&mut service).poll());
    assert_eq!(rejected.headers()["x-reason"], "AtCapacity");
}

#[test]
fn a_limit_of_zero_is_rejected_where_it_is_written() {
    let error = ConcurrencyLimitLayer::new(0).unwrap_err();
    assert_eq!(error.to_string(), "`limit` must be at least 1, not 0");
    assert_eq!(ConcurrencyLimitLayer::per_origin(0).unwrap_err(), error);
    let limiter = Limiter::new(2).unwrap();
    assert_eq!(limiter.set_limit(0), Err(error));
    assert_eq!(limiter.limit().get(), 2);
    let layer = ConcurrencyLimitLayer::from(limiter);
    let error = layer.set_limit(0).unwrap_err();
    assert_eq!(error.to_string(), "`limit`: must be at least 1, not 0");
    assert_eq!(layer.settings().limit, NonZeroUsize::new(2));
    assert!(ConcurrencyLimitLayer::new(usize::MAX).is_ok());
}
