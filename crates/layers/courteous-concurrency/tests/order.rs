//! Which of the calls that wait gets the next permit.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Body, Echo, Gated, LAPSE};
use courteous_concurrency::{ConcurrencyLimitLayer, Limiter, PermitBody};
use courteous_core::CallContext;
use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tokio_test::{
    assert_pending, assert_ready_ok,
    task::{self, Spawn},
};
use tower::{BoxError, Layer, Service};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

type Answer = Response<PermitBody<Body>>;

/// Makes a call, and polls it once if it waits. With a deadline if it is `hurried`.
fn send<S>(service: &mut S, hurried: bool) -> Spawn<S::Future>
where
    S: Service<Request<()>, Response = Answer, Error = BoxError>,
{
    let mut request = common::request();
    if hurried {
        CallContext::edit(request.extensions_mut()).tighten(Instant::now() + 60 * SECOND);
    }
    task::spawn(service.call(request))
}

/// Makes a call of each kind while the only permit is taken. Returns in which order they were
/// admitted, by their numbers.
fn order_of(layer: &ConcurrencyLimitLayer, hurried: &[bool]) -> Vec<usize> {
    let mut service = layer.layer(Echo);
    let mut held = Some(assert_ready_ok!(send(&mut service, false).poll()));
    let mut waiting: Vec<_> = hurried
        .iter()
        .map(|kind| send(&mut service, *kind))
        .collect();
    for call in &mut waiting {
        assert_pending!(call.poll());
    }
    let mut waiting: Vec<_> = waiting.into_iter().enumerate().collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        drop(held.take());
        let woken: Vec<_> = (0..waiting.len())
            .filter(|at| waiting[*at].1.is_woken())
            .collect();
        assert_eq!(woken.len(), 1, "one permit wakes one waiter");
        let (number, mut call) = waiting.remove(woken[0]);
        held = Some(assert_ready_ok!(call.poll()));
        order.push(number);
    }
    order
}

fn one_permit() -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(1).unwrap()
}

#[tokio::test(start_paused = true)]
async fn calls_with_a_deadline_are_admitted_newest_first() {
    assert_eq!(order_of(&one_permit(), &[true; 4]), [3, 2, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn calls_without_a_deadline_are_admitted_oldest_first() {
    assert_eq!(order_of(&one_permit(), &[false; 4]), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn calls_of_both_kinds_take_turns() {
    let kinds = [false, true, false, true, false, true];
    assert_eq!(order_of(&one_permit(), &kinds), [5, 0, 3, 2, 1, 4]);
    // A kind that is alone has all turns.
    let kinds = [false, false, false, true];
    assert_eq!(order_of(&one_permit(), &kinds), [3, 0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_layer_may_admit_all_calls_oldest_first() {
    let layer = one_permit().oldest_first();
    assert_eq!(order_of(&layer, &[true, false, true, true]), [0, 1, 2, 3]);
}

/// 48 of the 70 permits that are needed. Served oldest first, each permit goes to a call that is
/// about to give up.
#[tokio::test(start_paused = true)]
async fn a_limit_below_the_need_serves_what_it_can() {
    let served = |layer: ConcurrencyLimitLayer| async move {
        let server = tower::service_fn(|_: Request<()>| async {
            sleep(100 * MS).await;
            Ok::<_, BoxError>(Response::new(Body::from(b"".as_slice())))
        });
        let service = layer.layer(server);
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let deadline = Instant::now() + 400 * MS;
            for _ in 0..7 {
                let mut request = common::request();
                CallContext::edit(request.extensions_mut()).tighten(deadline);
                let call = service.clone().call(request);
                calls.spawn(async move {
                    let answer = tokio::time::timeout_at(deadline, call).await;
                    matches!(answer, Ok(Ok(_)))
                });
            }
            sleep(10 * MS).await;
        }
        let answers = calls.join_all().await;
        answers.iter().filter(|served| **served).count() * 100 / answers.len()
    };
    let layer = ConcurrencyLimitLayer::new(48).unwrap();
    let newest = served(layer.clone()).await;
    let oldest = served(layer.oldest_first()).await;
    assert!((66..=70).contains(&newest), "{newest} % newest first");
    assert!(oldest < 20, "{oldest} % oldest first");
}

#[tokio::test(start_paused = true)]
async fn a_woken_waiter_is_not_overtaken_by_a_newer_call() {
    let mut service = one_permit().layer(Echo);
    let first = assert_ready_ok!(send(&mut service, false).poll());
    let mut waiting = send(&mut service, true);
    assert_pending!(waiting.poll());
    drop(first);
    let mut newer = send(&mut service, true);
    assert_pending!(newer.poll());
    assert!(!newer.is_woken());
    assert_ready_ok!(waiting.poll());
}

#[tokio::test(start_paused = true)]
async fn a_promise_that_lapses_goes_to_the_newest_waiter() {
    let mut service = one_permit().layer(Echo);
    let first = assert_ready_ok!(send(&mut service, false).poll());
    let (mut old, mut middle) = (send(&mut service, true), send(&mut service, true));
    assert_pending!(old.poll());
    assert_pending!(middle.poll());
    drop(first);
    assert!(middle.is_woken() && !old.is_woken());
    let mut newest = send(&mut service, true);
    assert_pending!(newest.poll());
    sleep(LAPSE).await;
    assert!(newest.is_woken() && !old.is_woken());
    let held = assert_ready_ok!(newest.poll());
    // The late waiter keeps its age, and is newer than the old one.
    assert_pending!(middle.poll());
    drop(held);
    assert!(middle.is_woken() && !old.is_woken());
    drop(assert_ready_ok!(middle.poll()));
    assert_ready_ok!(old.poll());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_clone_is_not_ready_keeps_its_place_among_the_newest() {
    let limiter = Limiter::new(1).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone());
    let (gated, door) = Gated::new(0);
    let (mut slow, mut quick) = (layer.layer(gated), layer.layer(Echo));
    let held = assert_ready_ok!(send(&mut quick, false).poll());
    let (mut old, mut waiting) = (send(&mut quick, true), send(&mut slow, true));
    assert_pending!(old.poll());
    assert_pending!(waiting.poll());
    drop(held);
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll());
    let held = assert_ready_ok!(old.poll());
    let mut old = send(&mut quick, false);
    assert_pending!(old.poll());
    door.open(1);
    assert_pending!(waiting.poll());
    assert_eq!(door.ready(), 0, "no readiness is held in the queue");
    drop(held);
    // Turns: the last waiter that was served had a deadline.
    assert!(old.is_woken() && !waiting.is_woken());
    drop((waiting, old));
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_newest_waiter_that_is_dropped_lets_the_next_newest_go() {
    let mut service = one_permit().layer(Echo);
    let first = assert_ready_ok!(send(&mut service, false).poll());
    let (mut old, mut new) = (send(&mut service, true), send(&mut service, true));
    assert_pending!(old.poll());
    assert_pending!(new.poll());
    drop(first);
    assert!(new.is_woken() && !old.is_woken());
    drop(new);
    assert!(old.is_woken());
    assert_ready_ok!(old.poll());
}
