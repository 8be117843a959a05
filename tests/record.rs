//! The record of a call, read from outside of a whole stack: what the layers further in did, also for a call that failed or was
//! dropped.
//!
//! ```text
//! caller, reads > key > dead letter > total timeout > retry > concurrency limit > throttle > attempt timeout > client
//! ```

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod parts;

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;
use courteous_core::{
    BoxError, CallContext, CallRecord, Fault, NoteKind, RejectReason, Scope, StopReason, WaitedFor,
};
use courteous_dead_letter::{
    DeadLetterLayer, Filter, Letter, LetterStore, MemoryStore, Page, Redrive,
};
use courteous_idempotency::IdempotencyKeyLayer;
use courteous_testkit::{Probe, Reply, TestBody};
use courteous_throttle::{Rate, ThrottleLayer};
use courteous_timeout::{AttemptTimeoutLayer, CallTimeout, TotalTimeoutLayer};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

use crate::parts::{limit_of, retry_waiting};

const SECOND: Duration = Duration::from_secs(1);

type Stack = BoxCloneSyncService<Request<Full<Bytes>>, Response<Bytes>, BoxError>;

fn charge() -> (CallRecord, Request<Full<Bytes>>) {
    let request = Request::post("http://api.test/charges");
    let mut request = request.body(Full::from("amount=42")).unwrap();
    let record = CallRecord::of_or_insert(request.extensions_mut());
    (record, request)
}

/// One token each 4 s.
fn throttle() -> ThrottleLayer {
    let rate = Rate::new(1, 4 * SECOND).unwrap();
    ThrottleLayer::new(rate.with_burst(NonZeroU32::MIN))
}

/// Reads each response to its end, so that all stacks have one type.
fn whole<S, B>(service: S) -> Stack
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let service = service.map_err(Into::into);
    BoxCloneSyncService::new(service.and_then(async |response: Response<B>| {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(Into::into)?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }))
}

/// The client counts what it really sends, as the telemetry of attempts does.
fn count_sends(request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    CallRecord::of(request.extensions()).map(CallRecord::sent);
    request
}

fn stack(probe: &Probe, store: &MemoryStore) -> Stack {
    let stack = ServiceBuilder::new()
        .layer(IdempotencyKeyLayer::new())
        .layer(DeadLetterLayer::new(store.clone()))
        .layer(TotalTimeoutLayer::new(60 * SECOND))
        .layer(retry_waiting(SECOND))
        .layer(limit_of(1).0)
        .layer(throttle())
        .layer(AttemptTimeoutLayer::new(5 * SECOND))
        .map_request(count_sends)
        .service(probe.clone());
    whole(stack)
}

/// Another call, which takes the only token at once, and holds the only permit for 2 s. It has a
/// record of its own.
async fn busy(stack: &Stack, probe: &Probe) -> JoinHandle<CallRecord> {
    probe.script([Reply::ok().after(2 * SECOND)]);
    let (record, request) = charge();
    let call = stack.clone().oneshot(request);
    let call = tokio::spawn(async move {
        assert_eq!(call.await.unwrap().status(), 200);
        record
    });
    tokio::task::yield_now().await;
    call
}

async fn letters(store: &MemoryStore) -> Vec<Letter> {
    let records = store.list(Filter::new(), Page::first(9)).await.unwrap();
    records.into_iter().map(|record| record.letter).collect()
}

fn waited(record: &CallRecord) -> [Duration; 3] {
    [
        WaitedFor::Concurrency,
        WaitedFor::Throttle,
        WaitedFor::Backoff,
    ]
    .map(|waited_for| record.waited(waited_for))
}

/// What was decided, and how many seconds after `start`.
fn told(record: &CallRecord, start: Instant) -> Vec<(u64, NoteKind)> {
    let notes = record.notes();
    let told = notes
        .iter()
        .map(|note| ((note.at() - start).as_secs(), note.kind()));
    told.collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_with_all_kinds_of_trouble_is_told_from_outside() {
    let (probe, store) = (Probe::new().pending_polls(0), MemoryStore::new());
    let stack = stack(&probe, &store);
    let start = Instant::now();
    let other = busy(&stack, &probe).await;
    probe.script([
        Reply::never(),
        Reply::status(503).header("retry-after", "5"),
    ]);
    let (record, request) = charge();
    // 0 s: no permit. 2 s: no token. 4 s: silence. 9 s: backoff. 10 s: a pause of 5 s to 6 s.
    let response = stack.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);

    assert_eq!((record.attempts(), record.sends()), (3, 3));
    let history = record.history();
    let statuses: Vec<_> = history.attempts().iter().map(|it| it.status()).collect();
    assert_eq!(
        statuses,
        [None, Some(http::StatusCode::SERVICE_UNAVAILABLE)]
    );
    let [queue, tokens, backoff] = waited(&record);
    assert_eq!((queue, tokens), (2 * SECOND, 2 * SECOND));
    assert!((6 * SECOND..=7 * SECOND).contains(&backoff), "{backoff:?}");

    let told = told(&record, start);
    let opens = start + 15 * SECOND;
    assert_eq!(
        told[..3],
        [
            (9, NoteKind::Elapsed(Scope::Attempt)),
            (9, NoteKind::retry(SECOND, Fault::NoResponse)),
            (10, NoteKind::paused(opens)),
        ]
    );
    let [(10, NoteKind::Retry { wait, .. })] = told[3..] else {
        panic!("{told:?}");
    };
    // Timers are up to a millisecond late.
    let late = backoff.checked_sub(SECOND + wait).unwrap();
    assert!(late <= Duration::from_millis(1), "{late:?}");
    // The other call's record tells nothing of this one.
    let other = other.await.unwrap();
    assert_eq!(
        (other.attempts(), other.sends(), other.notes().len()),
        (1, 1, 0)
    );
    assert_eq!(waited(&other), [Duration::ZERO; 3]);
    assert!(letters(&store).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_503_and_a_200_are_three_attempts_with_two_waits() {
    let probe = Probe::new().replies([Reply::status(503), Reply::status(503)]);
    let stack = stack(&probe, &MemoryStore::new());
    let (record, request) = charge();
    assert_eq!(stack.oneshot(request).await.unwrap().status(), 200);
    assert_eq!((record.attempts(), record.sends()), (3, 3));
    let retry = NoteKind::retry(SECOND, Fault::Overload);
    let kinds: Vec<_> = record.notes().iter().map(|note| note.kind()).collect();
    assert_eq!(kinds, [retry, retry]);
    // A token each 4 s, of which a second passes in the backoff.
    assert_eq!(waited(&record), [Duration::ZERO, 6 * SECOND, 2 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_in_a_queue_is_told() {
    let (probe, store) = (Probe::new(), MemoryStore::new());
    let stack = stack(&probe, &store);
    for (patience, expected) in [(1, [1, 0, 0]), (3, [2, 1, 0])] {
        let other = busy(&stack, &probe).await;
        let (record, request) = charge();
        let call = tokio::time::timeout(SECOND * patience, stack.clone().oneshot(request));
        assert!(call.await.is_err());
        other.await.unwrap();
        sleep(60 * SECOND).await;
        assert_eq!(waited(&record), expected.map(|seconds| seconds * SECOND));
        // The attempt was handed to the limit, and never sent.
        assert_eq!((record.attempts(), record.sends()), (1, 0));
        assert!(record.notes().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn of_limits_in_another_order_each_tells_its_own_queue() {
    type Case = (fn(Probe) -> Stack, [u32; 3]);
    let cases: [Case; 2] = [
        (
            |probe| whole(limit_of(1).0.layer(throttle().layer(probe))),
            [2, 2, 0],
        ),
        (
            |probe| whole(throttle().layer(limit_of(1).0.layer(probe))),
            [0, 4, 0],
        ),
    ];
    for (stack, expected) in cases {
        let probe = Probe::new().pending_polls(0);
        let stack = stack(probe.clone());
        let other = busy(&stack, &probe).await;
        let (record, request) = charge();
        stack.oneshot(request).await.unwrap();
        other.await.unwrap();
        assert_eq!(waited(&record), expected.map(|seconds| seconds * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn why_a_call_ends_is_told_by_the_layer_that_ends_it_and_by_those_around_it() {
    let (probe, store) = (Probe::new().pending_polls(0), MemoryStore::new());
    let stack = stack(&probe, &store);
    let start = Instant::now();
    let other = busy(&stack, &probe).await;
    let (record, mut request) = charge();
    CallContext::edit(request.extensions_mut()).tighten(start);
    assert!(stack.clone().oneshot(request).await.is_err());
    assert_eq!(told(&record, start), [(0, NoteKind::Elapsed(Scope::Total))]);
    assert_eq!((record.attempts(), record.sends()), (0, 0));
    other.await.unwrap();

    // The token comes too late.
    let start = Instant::now();
    let (record, mut request) = charge();
    request.extensions_mut().insert(CallTimeout(SECOND));
    assert!(stack.clone().oneshot(request).await.is_err());
    let rejected = NoteKind::Rejected(RejectReason::Deadline);
    let stopped = NoteKind::Stopped(StopReason::Rejected);
    assert_eq!(told(&record, start), [(0, rejected), (0, stopped)]);
    assert_eq!((record.attempts(), record.is_maybe_sent()), (0, false));

    // The server is silent.
    sleep(60 * SECOND).await;
    let start = Instant::now();
    probe.script([Reply::never()]);
    let (record, mut request) = charge();
    request.extensions_mut().insert(CallTimeout(3 * SECOND));
    assert!(stack.oneshot(request).await.is_err());
    let elapsed = NoteKind::Elapsed(Scope::Total);
    let stopped = NoteKind::Stopped(StopReason::Deadline);
    assert_eq!(told(&record, start), [(3, elapsed), (3, stopped)]);
    assert_eq!((record.attempts(), record.sends()), (1, 1));
    assert!(record.is_maybe_processed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_off_is_told_after_the_head() {
    let body = TestBody::new().chunk("a").stall();
    let probe = Probe::new().replies([Reply::ok().body(body)]);
    let stack = TotalTimeoutLayer::new(SECOND).layer(probe);
    let (record, request) = charge();
    let start = Instant::now();
    let response = stack.oneshot(request).await.unwrap();
    assert!(record.notes().is_empty());
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(told(&record, start), [(1, NoteKind::Elapsed(Scope::Total))]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_and_a_reader_outside_tell_the_same_and_each_redrive_has_its_own_record() {
    let (probe, store) = (Probe::new(), MemoryStore::new());
    let stack = stack(&probe, &store);
    probe.script([Reply::error(), Reply::error(), Reply::status(503)]);
    let (record, request) = charge();
    stack.clone().oneshot(request).await.unwrap();
    let letter = letters(&store).await.remove(0);
    assert_eq!(letter.failure.attempts, record.attempts());
    assert_eq!(
        letter.failure.history.len(),
        record.history().attempts().len()
    );
    assert_eq!((record.attempts(), record.sends()), (3, 3));

    probe.script([Reply::status(503)]);
    let service = stack.map_response(|response| response.map(Full::<Bytes>::from));
    let shown = Redrive::new().run(&store, service).await.unwrap();
    assert_eq!(shown.delivered, 1);
    let seen = probe.seen();
    let of = |call: usize| CallRecord::of(&seen[call].extensions).unwrap();
    assert_eq!(of(0), &record);
    assert_eq!(of(3), of(4));
    assert_ne!(of(3), &record);
    assert_eq!((of(3).attempts(), of(3).sends()), (2, 2));
    assert_eq!((record.attempts(), record.sends()), (3, 3));
}
