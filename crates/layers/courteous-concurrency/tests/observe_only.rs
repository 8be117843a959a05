//! A limit that only observes: what it reports, and that it changes nothing.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Echo, call, reason, request};
use courteous_concurrency::{ConcurrencyLimitLayer, Keyed, Limiter, ObserveOnly};
use courteous_core::{CallContext, Decision, RejectReason};
use courteous_testkit::{Probe, Reply};
use http::Request;
use http_body_util::Empty;
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok};
use tower::{Layer, ServiceExt};

const MS: Duration = Duration::from_millis(1);

fn counts(switch: &ObserveOnly) -> (u64, u64) {
    let count = |decision| switch.count(decision);
    (
        count(Decision::ConcurrencyWait),
        count(Decision::ConcurrencyReject),
    )
}

/// The calls come 10 ms apart, in pairs. Returns when each call was sent and when it was answered.
async fn run<S>(service: S, probe: &Probe) -> (Vec<Duration>, Vec<Duration>)
where
    S: tower::Service<Request<Empty<Bytes>>, Error: std::fmt::Debug> + Clone,
{
    let start = Instant::now();
    let calls = (0..20).map(|i| {
        let service = service.clone();
        async move {
            sleep(i / 2 * 10 * MS).await;
            let answer = service.oneshot(Request::new(Empty::new())).await;
            answer.unwrap();
            start.elapsed()
        }
    });
    let answered = futures_util::future::join_all(calls).await;
    let sent = probe.seen().iter().map(|seen| seen.at - start).collect();
    (sent, answered)
}

#[tokio::test(start_paused = true)]
async fn an_observed_run_is_the_run_without_the_layer() {
    let probe = || Probe::new().otherwise(|_| Reply::ok().after(35 * MS));
    let bare = probe();
    let without = run(bare.clone(), &bare).await;
    let limited = probe();
    let switch = ObserveOnly::new();
    let layer = ConcurrencyLimitLayer::new(2).unwrap().fail_fast();
    let layer = layer.observe_only(switch.clone());
    assert_eq!(run(layer.layer(limited.clone()), &limited).await, without);
    assert!(counts(&switch).1 > 0);
    for (seen, bare) in limited.seen().iter().zip(bare.seen()) {
        assert_eq!(seen.headers, bare.headers);
        assert_eq!(seen.extensions.len(), bare.extensions.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_judged_as_it_would_be() {
    for max_waiting in [0, 1, 3, 100] {
        let limiter = Limiter::new(2).unwrap();
        let layer = ConcurrencyLimitLayer::from(limiter.clone()).with_max_waiting(max_waiting);
        let mut enforced = layer.clone().layer(Echo);
        let calls: Vec<_> = (0..10).map(|_| call(&mut enforced)).collect();
        let waiting = limiter.waiting() as u64;
        let mut rejected = 0;
        let mut kept = Vec::new();
        for mut call in calls {
            match call.poll() {
                std::task::Poll::Ready(Err(_)) => rejected += 1,
                other => kept.push((call, other)),
            }
        }
        drop(kept);

        let switch = ObserveOnly::new();
        let mut observed = layer.observe_only(switch.clone()).layer(Echo);
        let bodies: Vec<_> = (0..10)
            .map(|_| assert_ready_ok!(call(&mut observed).poll()))
            .collect();
        assert_eq!(counts(&switch), (waiting, rejected), "{max_waiting}");
        assert_eq!(limiter.in_flight() as u64, 10 - rejected);
        drop(bodies);
        assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_have_been_rejected_takes_no_place_from_later_ones() {
    let switch = ObserveOnly::new();
    let layer = ConcurrencyLimitLayer::new(1).unwrap().fail_fast();
    let mut service = layer.observe_only(switch.clone()).layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let _rejected = assert_ready_ok!(call(&mut service).poll());
    drop(first);
    let _third = assert_ready_ok!(call(&mut service).poll());
    assert_eq!(counts(&switch), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_to_wait_would_have_been_rejected() {
    let switch = ObserveOnly::new();
    let layer = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .observe_only(switch.clone());
    let service = layer.layer(Echo);
    let _first = service.clone().oneshot(request()).await.unwrap();
    let mut late = request();
    CallContext::edit(late.extensions_mut()).tighten(Instant::now());
    let _late = service.oneshot(late).await.unwrap();
    assert_eq!(counts(&switch), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_enforced_from_the_moment_the_switch_is_off() {
    let limiter = Limiter::new(1).unwrap();
    let switch = ObserveOnly::new();
    let layer = ConcurrencyLimitLayer::from(limiter.clone()).observe_only(switch.clone());
    let mut service = layer.clone().layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let second = assert_ready_ok!(call(&mut service).poll());
    assert_eq!(limiter.in_flight(), 2);

    layer.observe_only_switch().unwrap().set(false);
    let mut third = call(&mut service);
    assert_pending!(third.poll());
    drop(first);
    assert!(!third.is_woken(), "as many are in flight as may be");
    drop(second);
    assert!(third.is_woken());
    let third = assert_ready_ok!(third.poll());
    assert_eq!(counts(&switch), (1, 0));

    switch.set(true);
    let _fourth = assert_ready_ok!(call(&mut service).poll());
    drop(third);
}

/// Two stacks with one limiter. Calls of the observing stack count and pass; calls of the other
/// stack wait.
#[tokio::test(start_paused = true)]
async fn an_observed_call_passes_those_that_wait_and_takes_nothing_from_them() {
    let limiter = Limiter::new(1).unwrap();
    let mut enforced = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let observing = ConcurrencyLimitLayer::from(limiter.clone()).observe_only(true);
    let mut observing = observing.layer(Echo);
    let first = assert_ready_ok!(call(&mut enforced).poll());
    let mut waiting = call(&mut enforced);
    assert_pending!(waiting.poll());
    let observed = assert_ready_ok!(call(&mut observing).poll());
    drop(observed);
    drop(first);
    assert!(waiting.is_woken());
    let late = assert_ready_ok!(call(&mut observing).poll());
    assert_ready_ok!(waiting.poll());
    drop(late);
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn each_key_is_observed_for_itself() {
    let switch = ObserveOnly::new();
    let limiters = Keyed::per_origin(Limiter::new(1).unwrap());
    let layer = ConcurrencyLimitLayer::of(limiters.clone()).observe_only(switch.clone());
    let service = layer.layer(Echo);
    let mut bodies = Vec::new();
    for uri in ["http://a.test/", "http://b.test/", "http://a.test/"] {
        let request = Request::get(uri).body(()).unwrap();
        bodies.push(service.clone().oneshot(request).await.unwrap());
    }
    assert_eq!(counts(&switch), (1, 0));
    assert_eq!(limiters.in_flight(), 3);
    drop(bodies);
    assert_eq!(limiters.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_layer_may_say_that_it_enforces() {
    let layer = ConcurrencyLimitLayer::new(1).unwrap().fail_fast();
    let mut service = layer.observe_only(false).layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    let rejected = assert_ready!(call(&mut service).poll());
    assert_eq!(reason(rejected), Some(RejectReason::AtCapacity));
}
