//! What the retry writes into the record of a call that a layer outside has made.

use std::time::Duration;

use courteous_core::{
    CallContext, CallRecord, Effect, Fault, NoteKind, RejectReason, StopReason, Verdict, WaitedFor,
};
use courteous_retry::{Budget, NoRetry, RetryInfo};
use courteous_testkit::{Probe, Reply, Seen};
use http::{Method, Request};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, task};
use tower::{Layer, ServiceExt};

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

/// A GET that has a record.
fn recorded() -> (CallRecord, Request<Body>) {
    let mut request = request(Method::GET);
    let record = CallRecord::of_or_insert(request.extensions_mut());
    (record, request)
}

fn kinds(record: &CallRecord) -> Vec<NoteKind> {
    record.notes().iter().map(|note| note.kind()).collect()
}

#[tokio::test(start_paused = true)]
async fn two_503_and_a_200_are_three_attempts_and_two_retries_with_their_waits() {
    let start = Instant::now();
    let probe = Probe::new().replies([Reply::status(503), Reply::status(503)]);
    let (record, request) = recorded();
    let response = send(&steady().layer(probe), request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        (record.attempts(), record.history().attempts().len()),
        (3, 2)
    );
    let retry = NoteKind::retry(100 * MS, Fault::Overload);
    assert_eq!(kinds(&record), [retry, retry]);
    let at: Vec<_> = record
        .notes()
        .iter()
        .map(|note| note.at() - start)
        .collect();
    assert_eq!(at, [Duration::ZERO, 100 * MS]);
    assert_eq!(record.waited(WaitedFor::Backoff), 200 * MS);
    assert_eq!(record.waited(WaitedFor::Throttle), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_answered_at_once_has_one_attempt_and_no_notes() {
    let (record, request) = recorded();
    send(&steady().layer(Probe::new()), request).await.unwrap();
    assert!(record.is_followed() && record.is_maybe_processed());
    assert_eq!((record.attempts(), record.notes().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_the_same_record_and_nothing_that_the_one_before_has_added() {
    #[derive(Clone, Debug)]
    struct Other;
    for others in [false, true] {
        let probe = Probe::new().replies([Reply::error(), Reply::error()]);
        let (record, mut request) = recorded();
        if others {
            request.extensions_mut().insert(Other);
        }
        send(&steady().layer(probe.clone()), request).await.unwrap();
        let seen = probe.seen();
        let known = |seen: &Seen| {
            let extensions = &seen.extensions;
            assert_eq!(CallRecord::of(extensions), Some(&record));
            assert_eq!(extensions.get::<Other>().is_some(), others);
            (
                CallContext::of(extensions).attempt().unwrap().get(),
                extensions.len(),
            )
        };
        // Context, record and `Upload`.
        let len = 3 + usize::from(others);
        let seen: Vec<_> = seen.iter().map(known).collect();
        assert_eq!(seen, [(1, len), (2, len), (3, len)]);
    }
}

#[tokio::test(start_paused = true)]
async fn why_there_is_no_further_attempt_is_noted() {
    type Case = (Reply, StopReason);
    let cases: [Case; 3] = [
        (Reply::status(501), StopReason::Permanent),
        (
            Reply::status(503).header("retry-after", "61"),
            StopReason::WaitTooLong,
        ),
        (
            Reply::status(503).header("x-should-retry", "false"),
            StopReason::Vetoed,
        ),
    ];
    for (reply, reason) in cases {
        let (record, request) = recorded();
        let probe = Probe::new().replies([reply]);
        send(&steady().layer(probe), request).await.unwrap();
        assert_eq!(kinds(&record), [NoteKind::Stopped(reason)]);
        assert_eq!(record.attempts(), 1);
    }
    let (record, mut once) = recorded();
    once.extensions_mut().insert(NoRetry);
    let probe = Probe::new().otherwise(|_| Reply::error());
    assert!(send(&steady().layer(probe), once).await.is_err());
    assert_eq!(kinds(&record), [NoteKind::Stopped(StopReason::Disabled)]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_closed_limit_rejects_is_postponed_and_counted_once() {
    let start = Instant::now();
    let probe = Probe::new().replies([closed_until(start + 2000 * MS), Reply::status(503)]);
    let (record, request) = recorded();
    send(&steady().layer(probe), request).await.unwrap();
    let expected = [
        NoteKind::postponed(2000 * MS),
        NoteKind::retry(100 * MS, Fault::Overload),
    ];
    assert_eq!(kinds(&record), expected);
    assert_eq!(record.attempts(), 2);
    assert_eq!(record.waited(WaitedFor::Backoff), 2100 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_during_its_backoff_says_how_long_it_waited() {
    let probe = Probe::new()
        .pending_polls(0)
        .otherwise(|_| Reply::status(503));
    let (record, request) = recorded();
    let mut call = task::spawn(send(&steady().layer(probe), request));
    assert_pending!(call.poll());
    advance(60 * MS).await;
    // Also while it goes on.
    assert_eq!(record.waited(WaitedFor::Backoff), 60 * MS);
    drop(call);
    advance(1000 * MS).await;
    assert_eq!(record.waited(WaitedFor::Backoff), 60 * MS);
    assert_eq!(
        (record.attempts(), record.history().attempts().len()),
        (1, 1)
    );
    assert_eq!(kinds(&record), [NoteKind::retry(100 * MS, Fault::Overload)]);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_inner_service_to_be_ready_is_no_backoff() {
    let probe = Probe::new().pending_polls(0).replies([Reply::status(503)]);
    let (record, request) = recorded();
    let mut call = task::spawn(send(&steady().layer(probe.clone()), request));
    assert_pending!(call.poll());
    probe.withhold_readiness();
    sleep(100 * MS).await;
    assert_pending!(call.poll());
    sleep(500 * MS).await;
    probe.allow_readiness();
    assert!(call.await.is_ok());
    assert_eq!(record.waited(WaitedFor::Backoff), 100 * MS);
}

#[tokio::test(start_paused = true)]
async fn retries_over_a_long_life_do_not_let_it_grow() {
    let layer = steady()
        .with_max_attempts(2_000)
        .unwrap()
        .with_max_wait(Duration::MAX)
        .with_budget(Budget::unlimited());
    let (record, request) = recorded();
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    send(&layer.layer(probe), request).await.unwrap();
    assert_eq!(record.attempts(), 2_000);
    assert_eq!(record.waited(WaitedFor::Backoff), 1_999 * 100 * MS);
    assert_eq!(
        (record.notes().len(), record.history().attempts().len()),
        (16, 8)
    );
    let last = NoteKind::Stopped(StopReason::AttemptsExhausted);
    assert_eq!(kinds(&record).last(), Some(&last));
}

#[tokio::test(start_paused = true)]
async fn attempts_of_an_inner_retry_add_up_once_and_both_retries_write_their_waits() {
    let unlimited = || steady().with_budget(Budget::unlimited());
    let off = || unlimited().with_max_attempts(1).unwrap();
    for (outer, inner) in [
        (unlimited(), unlimited()),
        (off(), unlimited()),
        (unlimited(), off()),
    ] {
        let probe = Probe::new().replies([Reply::error(), Reply::error()]);
        let stack = outer.layer(inner.layer(probe.clone()));
        let (record, request) = recorded();
        let response = stack.oneshot(request).await.unwrap();
        assert_eq!((RetryInfo::of(&response).attempts(), probe.calls()), (3, 3));
        assert_eq!(
            (record.attempts(), record.history().attempts().len()),
            (3, 2)
        );
        assert_eq!(record.waited(WaitedFor::Backoff), 200 * MS);
        let retries = |kind: &NoteKind| matches!(kind, NoteKind::Retry { .. });
        assert_eq!(
            kinds(&record).iter().filter(|kind| retries(kind)).count(),
            2
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_between_two_retries_that_needs_a_record_has_one_of_its_own() {
    let inner = steady().layer(Probe::new().replies([Reply::error(), Reply::error()]));
    let (own, owns) = std::sync::mpsc::channel();
    let between = tower::service_fn(move |mut request: Request<Body>| {
        let _ = own.send(CallRecord::of_or_insert(request.extensions_mut()));
        let inner = inner.clone();
        async move {
            sleep(MS).await;
            inner.oneshot(request).await
        }
    });
    let (record, request) = recorded();
    steady().layer(between).oneshot(request).await.unwrap();
    let own: Vec<CallRecord> = owns.try_iter().collect();
    assert_eq!(
        (own.len(), own[0].attempts(), own[0].notes().len()),
        (1, 3, 2)
    );
    assert_ne!(own[0], record);
    assert_eq!(
        (record.attempts(), record.history().attempts().len()),
        (3, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn two_calls_in_turn_of_one_request_add_up() {
    // As of a layer that sends once more with a fresh credential.
    let service = steady().layer(Probe::new().replies([
        Reply::status(401),
        Reply::fail(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
    ]));
    let (record, first) = recorded();
    let mut second = request(Method::GET);
    *second.extensions_mut() = first.extensions().clone();
    send(&service, first).await.unwrap();
    send(&service, second).await.unwrap();
    assert_eq!(
        (record.attempts(), record.history().attempts().len()),
        (3, 1)
    );
    let never = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
    assert_eq!(record.history().attempts()[0].verdict(), never);
    assert!(record.is_maybe_sent());
}

#[tokio::test(start_paused = true)]
async fn a_second_operation_under_the_same_key_is_noted_and_not_counted() {
    let service = steady().layer(Probe::new());
    let (record, mut first) = recorded();
    *first.method_mut() = Method::POST;
    first
        .extensions_mut()
        .insert(courteous_core::KeyClaim::new());
    let mut second = request(Method::POST);
    *second.extensions_mut() = first.extensions().clone();
    send(&service, first).await.unwrap();
    assert!(send(&service, second).await.is_err());
    assert_eq!(record.attempts(), 1);
    assert_eq!(
        kinds(&record),
        [NoteKind::Rejected(RejectReason::KeyReused)]
    );
}
