//! Permits that are still held after their calls' deadlines.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    future::{Pending, pending},
    time::Duration,
};

use common::{Body, Echo, limit, reason};
use courteous_concurrency::{ConcurrencyLimitLayer, HoldUntil, Keyed, Limiter};
use courteous_core::{BoxError, CallContext, RejectReason};
use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{Layer, Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// A request whose call is over after `timeout`.
fn within(timeout: Duration) -> Request<()> {
    let mut request = Request::new(());
    CallContext::edit(request.extensions_mut()).tighten(Instant::now() + timeout);
    request
}

/// A request without a deadline.
fn open_ended() -> Request<()> {
    Request::new(())
}

#[tokio::test(start_paused = true)]
async fn the_next_call_takes_back_the_permit_of_a_body_that_is_not_polled() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let kept = assert_ready_ok!(task::spawn(service.call(within(30 * SECOND))).poll());
    sleep(30 * SECOND - Duration::from_millis(1)).await;
    assert_pending!(task::spawn(service.call(open_ended())).poll());
    sleep(Duration::from_millis(1)).await;
    assert_eq!(limiter.in_flight(), 1);
    let next = assert_ready_ok!(task::spawn(service.call(open_ended())).poll());
    assert_eq!(limiter.in_flight(), 1);
    // The permit is not given back a second time.
    drop(kept);
    assert_eq!(limiter.in_flight(), 1);
    assert_pending!(task::spawn(service.call(open_ended())).poll());
    drop(next);
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_not_wait_takes_it_back_too() {
    let limiter = Limiter::new(2).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone()).fail_fast();
    let mut service = layer.layer(Echo);
    let long = assert_ready_ok!(task::spawn(service.call(within(60 * SECOND))).poll());
    let short = assert_ready_ok!(task::spawn(service.call(within(SECOND))).poll());
    sleep(SECOND).await;
    let third = assert_ready_ok!(task::spawn(service.call(open_ended())).poll());
    let rejected = assert_ready!(task::spawn(service.call(open_ended())).poll());
    assert_eq!(reason(rejected), Some(RejectReason::AtCapacity));
    drop((long, short));
    assert_eq!(limiter.in_flight(), 1);
    drop(third);
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_already_goes_first() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let kept = assert_ready_ok!(task::spawn(service.call(within(SECOND))).poll());
    let mut first = task::spawn(service.call(open_ended()));
    assert_pending!(first.poll());
    sleep(SECOND).await;
    // There is no timer for this.
    assert!(!first.is_woken());
    let mut second = task::spawn(service.call(open_ended()));
    assert_pending!(second.poll());
    assert!(first.is_woken());
    let response = assert_ready_ok!(first.poll());
    drop(kept);
    assert!(!second.is_woken());
    drop(response);
    assert!(second.is_woken());
    drop(assert_ready_ok!(second.poll()));
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_holds_its_permit_until_its_deadline_too() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let first = assert_ready_ok!(task::spawn(service.call(open_ended())).poll());
    let mut second = task::spawn(service.call(within(2 * SECOND)));
    assert_pending!(second.poll());
    sleep(SECOND).await;
    drop(first);
    let _kept = assert_ready_ok!(second.poll());
    sleep(SECOND).await;
    assert_ready_ok!(task::spawn(service.call(open_ended())).poll());
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_response_is_lost_only_without_a_deadline() {
    let limiter = Limiter::new(2).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    for request in [within(SECOND), open_ended()] {
        std::mem::forget(assert_ready_ok!(task::spawn(service.call(request)).poll()));
    }
    sleep(60 * SECOND).await;
    let _next = assert_ready_ok!(task::spawn(service.call(open_ended())).poll());
    assert_pending!(task::spawn(service.call(open_ended())).poll());
}

#[tokio::test(start_paused = true)]
async fn a_response_future_that_is_not_polled_loses_its_permit_at_the_deadline() {
    for hold in [HoldUntil::Body, HoldUntil::Headers] {
        let limiter = Limiter::new(1).unwrap();
        let layer = ConcurrencyLimitLayer::from(limiter.clone()).hold_until(hold);
        let never =
            service_fn(|_: Request<()>| -> Pending<Result<Response<Body>, BoxError>> { pending() });
        let mut service = layer.layer(never);
        let mut parked = task::spawn(service.call(within(SECOND)));
        assert_pending!(parked.poll());
        sleep(SECOND).await;
        let mut next = task::spawn(service.call(open_ended()));
        assert_pending!(next.poll());
        assert_eq!((limiter.in_flight(), limiter.waiting()), (1, 0));
        drop(parked);
        assert_eq!(limiter.in_flight(), 1);
        drop(next);
        assert_eq!(limiter.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_may_outlast_the_deadline_keeps_its_permit() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let mut request = open_ended();
    CallContext::edit(request.extensions_mut())
        .tighten_head_to_end_of(SECOND, Instant::now() + SECOND);
    let stream = assert_ready_ok!(task::spawn(service.call(request)).poll());
    sleep(60 * SECOND).await;
    let mut next = task::spawn(service.call(open_ended()));
    assert_pending!(next.poll());
    drop(stream);
    assert_ready_ok!(next.poll());
}

#[tokio::test(start_paused = true)]
async fn a_key_with_overdue_permits_alone_makes_room_for_another() {
    let limiters = Keyed::new(Limiter::new(1).unwrap(), |head| {
        head.uri().path().to_owned()
    });
    let limiters = limiters.with_max_keys(limit(1));
    let layer = ConcurrencyLimitLayer::of(limiters.clone());
    let mut service = layer.layer(Echo);
    let to = |path: &str, mut request: Request<()>| {
        *request.uri_mut() = path.parse().unwrap();
        request
    };
    let kept = assert_ready_ok!(task::spawn(service.call(to("/1", within(SECOND)))).poll());
    sleep(SECOND).await;
    let _next = assert_ready_ok!(task::spawn(service.call(to("/2", open_ended()))).poll());
    let second = limiters.get(&"/2".into()).unwrap();
    assert_eq!((second.in_flight(), limiters.len()), (1, 1));
    drop(kept);
    assert_eq!(limiters.in_flight(), 1);
}
