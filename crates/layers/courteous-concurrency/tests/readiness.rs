//! What happens to the inner service's readiness.

mod common;

use std::{
    future::{Ready, ready},
    io,
    task::{Context, Poll},
};

use common::{Gated, call, reason, request};
use courteous_concurrency::{ConcurrencyLimitLayer, Limiter};
use courteous_core::RejectReason;
use http::{Request, Response};
use http_body_util::Empty;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service};

#[test]
fn a_readied_service_reserves_no_permit() {
    let limiter = Limiter::new(1).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone());
    let (gated, _) = Gated::new(9);
    let mut idle = layer.layer(gated.clone());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(Service::<Request<()>>::poll_ready(&mut idle, &mut cx).is_ready());
    assert_eq!(limiter.in_flight(), 0);
    assert_ready_ok!(call(&mut layer.layer(gated)).poll());
}

#[test]
fn a_call_that_is_admitted_at_once_goes_to_the_instance_that_was_polled() {
    let (gated, door) = Gated::new(9);
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(gated);
    assert_ready_ok!(call(&mut service).poll());
    assert_eq!((door.calls(), door.clones()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_holds_no_readiness_and_calls_a_clone_that_it_readied() {
    let (gated, door) = Gated::new(9);
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(gated);
    let first = assert_ready_ok!(call(&mut service).poll());
    let mut waiting = call(&mut service);
    assert_eq!(door.ready(), 0);
    assert_pending!(waiting.poll());
    assert_eq!((door.ready(), door.clones()), (0, 2));
    drop(first);
    let second = assert_ready_ok!(waiting.poll());
    assert_eq!((door.calls(), door.ready()), (2, 0));
    // The service itself is as good as new.
    drop(second);
    assert_ready_ok!(call(&mut service).poll());
}

#[test]
fn a_call_that_is_rejected_gives_the_readiness_back() {
    let (gated, door) = Gated::new(9);
    let mut service = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .fail_fast()
        .layer(gated);
    let _first = assert_ready_ok!(call(&mut service).poll());
    let rejected = assert_ready!(call(&mut service).poll());
    assert_eq!(reason(rejected), Some(RejectReason::AtCapacity));
    assert_eq!(door.ready(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_clone_is_not_ready_lets_the_next_one_go_first() {
    let limiter = Limiter::new(1).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone());
    let (gated, door) = Gated::new(1);
    let mut slow = layer.layer(gated);
    let mut quick = layer.layer(common::Echo);
    let mut youngest = quick.clone();
    let held = assert_ready_ok!(call(&mut quick).poll());
    let (mut waiting, mut next) = (call(&mut slow), call(&mut quick));
    assert_pending!(waiting.poll());
    assert_pending!(next.poll());

    // Another clone takes the only readiness.
    let mut other = slow.get_ref().clone();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(other.poll_ready(&mut cx).is_ready());

    drop(held);
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll());
    assert!(next.is_woken());
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 2));
    let held = assert_ready_ok!(next.poll());
    let mut youngest = call(&mut youngest);
    assert_pending!(youngest.poll());

    // The clone is ready now, but there is no permit: the call waits for a permit as the oldest,
    // without the readiness.
    drop(other);
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll());
    assert_eq!(door.ready(), 0);
    drop(held);
    assert!(waiting.is_woken());
    assert!(!youngest.is_woken());
    let response = assert_ready_ok!(waiting.poll());
    assert_eq!(door.calls(), 1);
    drop(response);
    assert!(youngest.is_woken());
    assert_ready_ok!(youngest.poll());
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_ready_while_a_permit_is_free_takes_it() {
    let limiter = Limiter::new(1).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone());
    let (gated, door) = Gated::new(0);
    let held = assert_ready_ok!(call(&mut layer.layer(common::Echo)).poll());
    let mut waiting = task::spawn(layer.layer(gated).call(request()));
    assert_pending!(waiting.poll());
    drop(held);
    assert_pending!(waiting.poll());
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 1));
    door.open(1);
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_can_be_dropped_in_every_state() {
    let limiter = Limiter::new(1).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone());
    let mut quick = layer.layer(common::Echo);
    let state = || (limiter.in_flight(), limiter.waiting());

    // Before its first poll; in the queue.
    let held = assert_ready_ok!(call(&mut quick).poll());
    drop(call(&mut quick));
    let mut waiting = call(&mut quick);
    assert_pending!(waiting.poll());
    assert_eq!(state(), (1, 1));
    drop(waiting);
    assert_eq!(state(), (1, 0));

    // Promised a permit, which goes to the next call at once.
    let (mut waiting, mut next) = (call(&mut quick), call(&mut quick));
    assert_pending!(waiting.poll());
    assert_pending!(next.poll());
    drop(held);
    assert!(!next.is_woken());
    drop(waiting);
    assert!(next.is_woken());
    let held = assert_ready_ok!(next.poll());

    // While its clone is not ready; and then while it waits for a permit again.
    let (gated, door) = Gated::new(0);
    let mut slow = layer.layer(gated);
    let mut waiting = task::spawn(slow.call(request()));
    assert_pending!(waiting.poll());
    drop(held);
    assert_pending!(waiting.poll());
    assert_eq!(state(), (0, 1));
    drop(waiting);
    assert_eq!(state(), (0, 0));
    let held = assert_ready_ok!(call(&mut quick).poll());
    let mut waiting = task::spawn(slow.call(request()));
    assert_pending!(waiting.poll());
    drop(held);
    assert_pending!(waiting.poll());
    let held = assert_ready_ok!(call(&mut quick).poll());
    door.open(1);
    assert_pending!(waiting.poll());
    drop(waiting);
    assert_eq!((state(), door.ready()), ((1, 0), 0));

    // After its promise has lapsed.
    let mut waiting = call(&mut quick);
    assert_pending!(waiting.poll());
    drop(held);
    tokio::time::sleep(common::LAPSE).await;
    let held = assert_ready_ok!(call(&mut quick).poll());
    drop(waiting);
    assert_eq!(state(), (1, 0));
    drop(held);
    assert_eq!(state(), (0, 0));
}

/// Never ready.
#[derive(Clone, Debug)]
struct Broken;

impl Service<Request<()>> for Broken {
    type Response = Response<Empty<&'static [u8]>>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Err(io::ErrorKind::Other.into()))
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_readiness_comes_through() {
    let limiter = Limiter::new(1).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone());
    let mut broken = layer.layer(Broken);
    let mut polled = task::spawn(());
    let error = assert_ready_err!(polled.enter(|cx, _| broken.poll_ready(cx)));
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    assert_eq!(kind, Some(io::ErrorKind::NotConnected));

    // Also to a call that waited, without costing its permit.
    let held = assert_ready_ok!(call(&mut layer.layer(common::Echo)).poll());
    let mut waiting = task::spawn(broken.call(request()));
    assert_pending!(waiting.poll());
    drop(held);
    let error = assert_ready_err!(waiting.poll());
    assert!(error.is::<io::Error>());
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));

    let mut typed = layer
        .reject_with(|_| Response::new(Empty::new()))
        .layer(Broken);
    let error: io::Error = assert_ready_err!(polled.enter(|cx, _| typed.poll_ready(cx)));
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}
