//! What a limit writes into the record of a call that a layer outside has made.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    task::{Context, Waker},
    time::Duration,
};

use common::{Echo, Gated, call};
use courteous_concurrency::ConcurrencyLimitLayer;
use courteous_core::{CallContext, CallRecord, NoteKind, ObserveOnly, RejectReason, WaitedFor};
use http::Request;
use tokio::time::{Instant, advance};
use tokio_test::{
    assert_pending, assert_ready, assert_ready_err, assert_ready_ok,
    task::{self, Spawn},
};
use tower::{Layer, Service};

const SECOND: Duration = Duration::from_secs(1);

fn one_permit() -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(1).unwrap()
}

fn recorded() -> (CallRecord, Request<()>) {
    let mut request = common::request();
    let record = CallRecord::of_or_insert(request.extensions_mut());
    (record, request)
}

fn send<S: Service<Request<()>>>(service: &mut S, request: Request<()>) -> Spawn<S::Future> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    task::spawn(service.call(request))
}

fn waited(record: &CallRecord) -> Duration {
    record.waited(WaitedFor::Concurrency)
}

fn kinds(record: &CallRecord) -> Vec<NoteKind> {
    record.notes().iter().map(|note| note.kind()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_says_how_long_it_was_queued() {
    let mut service = one_permit().layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let (record, request) = recorded();
    let mut second = send(&mut service, request);
    assert_pending!(second.poll());
    advance(2 * SECOND).await;
    assert_eq!(waited(&record), 2 * SECOND);
    drop(first);
    assert!(second.is_woken());
    let response = assert_ready_ok!(second.poll());
    advance(SECOND).await;
    assert_eq!(waited(&record), 2 * SECOND);
    assert_eq!(record.waited(WaitedFor::Throttle), Duration::ZERO);
    assert!(record.notes().is_empty());
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_in_the_queue_says_how_long_it_was_there() {
    let mut service = one_permit().layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    for polled in [true, false] {
        let (record, request) = recorded();
        let mut second = send(&mut service, request);
        if polled {
            assert_pending!(second.poll());
        }
        advance(2 * SECOND).await;
        drop(second);
        advance(SECOND).await;
        assert_eq!(waited(&record), 2 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_admitted_at_once_writes_nothing() {
    let mut service = one_permit().layer(Echo);
    let (record, request) = recorded();
    let response = assert_ready_ok!(send(&mut service, request).poll());
    advance(SECOND).await;
    drop(response);
    assert_eq!((waited(&record), record.notes().len()), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_ready_clone_is_none_of_the_queue() {
    let layer = one_permit();
    let (gated, door) = Gated::new(1);
    let mut slow = layer.layer(gated);
    let mut quick = layer.layer(Echo);
    let held = assert_ready_ok!(call(&mut quick).poll());
    let (record, request) = recorded();
    let mut waiting = send(&mut slow, request);
    assert_pending!(waiting.poll());
    let mut busy = slow.get_ref().clone();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(busy.poll_ready(&mut cx).is_ready());
    advance(SECOND).await;
    // Its turn comes, and its clone is not ready.
    drop(held);
    assert_pending!(waiting.poll());
    advance(10 * SECOND).await;
    // The clone is ready, and the permit is taken.
    let held = assert_ready_ok!(call(&mut quick).poll());
    door.open(1);
    assert_pending!(waiting.poll());
    advance(3 * SECOND).await;
    drop(held);
    assert_ready_ok!(waiting.poll());
    assert_eq!(waited(&record), 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_says_why_and_how_long_it_was_queued() {
    let (record, request) = recorded();
    let mut service = one_permit().fail_fast().layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    assert_ready_err!(send(&mut service, request).poll());
    assert_eq!(
        kinds(&record),
        [NoteKind::Rejected(RejectReason::AtCapacity)]
    );
    assert_eq!(waited(&record), Duration::ZERO);

    let mut service = one_permit().with_max_wait(SECOND).layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    let (record, request) = recorded();
    let mut second = send(&mut service, request);
    assert_pending!(second.poll());
    tokio::time::sleep(SECOND).await;
    assert_ready_err!(second.poll());
    assert_eq!(kinds(&record), [NoteKind::Rejected(RejectReason::MaxWait)]);
    assert_eq!(waited(&record), SECOND);

    let (record, mut request) = recorded();
    CallContext::edit(request.extensions_mut()).tighten(Instant::now());
    let mut service = one_permit().layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    assert_ready_err!(send(&mut service, request).poll());
    assert_eq!(kinds(&record), [NoteKind::Rejected(RejectReason::Deadline)]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_only_observes_writes_nothing() {
    let layer = one_permit().fail_fast().observe_only(ObserveOnly::new());
    let mut service = layer.layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    let (record, request) = recorded();
    assert!(assert_ready!(send(&mut service, request).poll()).is_ok());
    assert_eq!((waited(&record), record.notes().len()), (Duration::ZERO, 0));
}
