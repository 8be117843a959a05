//! What a throttle writes into the record of a call that a layer outside has made.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use courteous_core::{
    CallContext, CallRecord, KeyClaim, NoteKind, ObserveOnly, RejectReason, WaitedFor,
};
use courteous_testkit::Probe;
use courteous_throttle::{Cost, Rate, ThrottleLayer};
use http::Request;
use http_body_util::Full;
use support::{Sends, ready_call, request, sec};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, ServiceExt};

fn one_per_second() -> ThrottleLayer {
    ThrottleLayer::new(Rate::per_second(1.0).unwrap())
}

fn recorded() -> (CallRecord, Request<()>) {
    let mut request = request(7);
    let record = CallRecord::of_or_insert(request.extensions_mut());
    (record, request)
}

fn waited(record: &CallRecord) -> Duration {
    record.waited(WaitedFor::Throttle)
}

fn kinds(record: &CallRecord) -> Vec<NoteKind> {
    record.notes().iter().map(|note| note.kind()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_says_how_long_it_waited_for_its_token() {
    let mut service = one_per_second().layer(Sends::default());
    ready_call(&mut service, request(0)).await.unwrap();
    let (record, request) = recorded();
    let mut call = task::spawn(ready_call(&mut service, request));
    assert_pending!(call.poll());
    advance(sec(1) / 4).await;
    assert_eq!(waited(&record), sec(1) / 4);
    call.await.unwrap();
    advance(sec(9)).await;
    assert_eq!((waited(&record), record.notes().len()), (sec(1), 0));
    assert!(record.waited(WaitedFor::Concurrency).is_zero());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_waits_says_how_long_it_did() {
    let mut service = one_per_second().layer(Sends::default());
    ready_call(&mut service, request(0)).await.unwrap();
    for polled in [true, false] {
        let (record, request) = recorded();
        let mut call = task::spawn(ready_call(&mut service, request));
        if polled {
            assert_pending!(call.poll());
        }
        advance(sec(1) / 4).await;
        drop(call);
        advance(sec(1) / 4).await;
        assert_eq!(waited(&record), sec(1) / 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_its_token_writes_nothing() {
    let mut service = one_per_second().layer(Sends::default());
    let (record, request) = recorded();
    ready_call(&mut service, request).await.unwrap();
    advance(sec(1)).await;
    assert_eq!((waited(&record), record.notes().len()), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_ready_clone_is_none_of_the_throttle() {
    let probe = Probe::new().pending_polls(0);
    let send = |service: &courteous_throttle::Throttle<Probe>| {
        let mut request = request(7).map(|()| Full::<Bytes>::default());
        let record = CallRecord::of_or_insert(request.extensions_mut());
        (record, service.clone().oneshot(request))
    };
    let service = one_per_second().layer(probe.clone());
    send(&service).1.await.unwrap();
    let (record, call) = send(&service);
    let mut call = task::spawn(call);
    assert_pending!(call.poll());
    probe.withhold_readiness();
    sleep(sec(1)).await;
    assert_pending!(call.poll());
    // Its turn has come, and its clone is not ready.
    sleep(sec(10)).await;
    assert_eq!(waited(&record), sec(1));
    // The clone is ready, and another call has taken the token.
    let other = one_token_taken(&service, &probe).await;
    assert_eq!(other, Duration::ZERO);
    assert_pending!(call.poll());
    sleep(sec(1)).await;
    call.await.unwrap();
    assert_eq!(waited(&record), sec(2));
}

/// Has `probe` ready again, and a call without a record take a token first. Returns how long that
/// call took.
async fn one_token_taken(service: &courteous_throttle::Throttle<Probe>, probe: &Probe) -> Duration {
    probe.allow_readiness();
    let start = Instant::now();
    let request = request(8).map(|()| Full::<Bytes>::default());
    service.clone().oneshot(request).await.unwrap();
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_says_why() {
    let mut service = one_per_second().fail_fast().layer(Sends::default());
    ready_call(&mut service, request(0)).await.unwrap();
    let (record, request) = recorded();
    assert_ready_err!(task::spawn(ready_call(&mut service, request)).poll());
    let [NoteKind::Rejected(reason)] = kinds(&record)[..] else {
        panic!("{record:?}");
    };
    assert!(matches!(
        reason,
        RejectReason::AtCapacity | RejectReason::MaxWait
    ));
    assert!(waited(&record).is_zero());

    let (record, mut request) = recorded();
    CallContext::edit(request.extensions_mut()).tighten(Instant::now() + sec(1) / 4);
    let mut service = one_per_second().layer(Sends::default());
    ready_call(&mut service, support::request(0)).await.unwrap();
    assert_ready_err!(task::spawn(ready_call(&mut service, request)).poll());
    assert_eq!(kinds(&record), [NoteKind::Rejected(RejectReason::Deadline)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_and_is_then_rejected_says_both() {
    let sends = Sends::default();
    let mut service = one_per_second().with_max_wait(sec(5)).layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    let (record, request) = recorded();
    let mut call = task::spawn(ready_call(&mut service, request));
    assert_pending!(call.poll());
    sleep(sec(1) / 2).await;
    // Another response closes the bucket for longer than the call may wait.
    service.partition().close_until(Instant::now() + sec(60));
    assert_ready_err!(call.poll());
    assert!(matches!(kinds(&record)[..], [NoteKind::Rejected(_)]));
    drop(call);
    sleep(sec(9)).await;
    assert_eq!(waited(&record), sec(1) / 2);
}

#[tokio::test(start_paused = true)]
async fn the_call_whose_response_closes_something_says_until_when() {
    type Fields = &'static [(&'static str, &'static str)];
    let cases: [(u16, Fields, u64); 4] = [
        (429, &[("retry-after", "30")], 30),
        // No longer than the layer heeds.
        (503, &[("retry-after", "900")], 60),
        (
            200,
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "20")],
            20,
        ),
        (
            200,
            &[
                ("x-ratelimit-resource", "core"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "20"),
            ],
            20,
        ),
    ];
    for (status, headers, pause) in cases {
        for others in [false, true] {
            let sends = Sends::default();
            sends.answer(status, headers);
            let layer = ThrottleLayer::per_origin(Rate::UNLIMITED).with_max_pause(sec(60));
            let mut service = layer.layer(sends);
            let (record, mut request) = recorded();
            if others {
                CallContext::edit(request.extensions_mut());
                request.extensions_mut().insert(KeyClaim::new());
                request.extensions_mut().insert(Cost::new(1));
            }
            let start = Instant::now();
            ready_call(&mut service, request).await.unwrap();
            assert_eq!(kinds(&record), [NoteKind::paused(start + sec(pause))]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_says_until_when_its_response_has_closed_the_bucket() {
    let sends = Sends::default();
    let mut service = one_per_second().layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    sends.answer(429, &[("retry-after", "30")]);
    let (record, request) = recorded();
    let start = Instant::now();
    ready_call(&mut service, request).await.unwrap();
    assert_eq!(kinds(&record), [NoteKind::paused(start + sec(31))]);
    assert_eq!(waited(&record), sec(1));
}

#[tokio::test(start_paused = true)]
async fn a_throttle_that_only_observes_writes_nothing() {
    let sends = Sends::default();
    let layer = one_per_second()
        .fail_fast()
        .observe_only(ObserveOnly::new());
    let mut service = layer.layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    sends.answer(429, &[("retry-after", "30")]);
    let (record, request) = recorded();
    assert_ready_ok!(task::spawn(ready_call(&mut service, request)).poll());
    assert_eq!((waited(&record), record.notes().len()), (Duration::ZERO, 0));
}
