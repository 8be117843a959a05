//! The standard stack with a dead letter in it: what it keeps, and where it tells so.
#![cfg(feature = "dead-letter")]
#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::time::Duration;

use bytes::Bytes;
use courteous::{
    Courteous, DeadLetterLayer, DeadLettered, IdempotencyKeyLayer, Stack,
    dead_letter::{MemoryStore, Payload, Reason, Replay, Store},
};
use courteous_testkit::{Probe, Reply};
use http::Request;
use http_body_util::Full;
use tower::ServiceExt;

fn charge() -> Request<Full<Bytes>> {
    let request = Request::post("http://api.test/charges").header("authorization", "Bearer s3cret");
    request.body(Full::from("one")).unwrap()
}

/// Attempts of 10 s each within 15 s, and keys for all hosts.
fn stacked(probe: &Probe, store: &MemoryStore) -> Courteous<Probe> {
    Stack::new()
        .with_idempotency_key(IdempotencyKeyLayer::new())
        .with_dead_letter(DeadLetterLayer::new(store.clone()))
        .with_total_timeout(Duration::from_secs(15))
        .build()
        .unwrap()
        .layer(probe.clone())
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ended_by_its_total_timeout_is_kept_with_its_key_and_its_attempts() {
    let (probe, store) = (
        Probe::new().otherwise(|_| Reply::never()),
        MemoryStore::new(),
    );
    let error = stacked(&probe, &store)
        .oneshot(charge())
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.is_timeout());
    let record = store.get(error.letter().unwrap()).await.unwrap().unwrap();
    let letter = record.letter;
    assert_eq!(letter.failure.reason, Reason::Deadline);
    // The first attempt was given up after 10 s, the second at the deadline.
    assert_eq!(
        (letter.failure.attempts, letter.failure.history.len()),
        (2, 2)
    );
    assert!(letter.failure.maybe_sent);
    assert_eq!(letter.payload, Payload::Whole(Bytes::from("one")));
    let sent = &probe.seen()[1].headers;
    assert_eq!(
        letter.headers.get("idempotency-key"),
        sent.get("idempotency-key")
    );
    assert!(sent.contains_key("authorization") && !letter.headers.contains_key("authorization"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_a_response_names_its_record() {
    let (probe, store) = (
        Probe::new().otherwise(|_| Reply::status(503)),
        MemoryStore::new(),
    );
    let response = stacked(&probe, &store).oneshot(charge()).await.unwrap();
    assert_eq!(response.status(), 503);
    let id = response.extensions().get::<DeadLettered>().unwrap().id();
    let letter = store.get(id).await.unwrap().unwrap().letter;
    assert_eq!(
        (letter.failure.attempts, letter.failure.history.len()),
        (3, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_409_that_stays_under_the_calls_own_key_is_kept_and_one_that_is_an_answer_is_not() {
    let store = MemoryStore::new();
    let lost = Probe::new()
        .replies([Reply::status(500)])
        .otherwise(|_| Reply::status(409));
    let response = stacked(&lost, &store).oneshot(charge()).await.unwrap();
    assert_eq!((response.status().as_u16(), lost.calls()), (409, 3));
    let id = response.extensions().get::<DeadLettered>().unwrap().id();
    let letter = store.get(id).await.unwrap().unwrap().letter;
    assert_eq!(letter.failure.reason, Reason::Attempts);
    assert!(letter.is_repeatable() && letter.failure.maybe_sent);

    let answered = Probe::new().otherwise(|_| Reply::status(409));
    let response = stacked(&answered, &store).oneshot(charge()).await.unwrap();
    assert!(response.extensions().get::<DeadLettered>().is_none());
    assert_eq!(answered.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_conditional_write_whose_answer_was_lost_is_kept_and_not_replayed_in_bulk() {
    let store = MemoryStore::new();
    let probe = Probe::new()
        .replies([Reply::fail("reset")])
        .otherwise(|_| Reply::status(412));
    let put = Request::put("http://api.test/log/42").header("if-none-match", "*");
    let put: Request<Full<Bytes>> = put.body(Full::from("mine")).unwrap();
    let error = stacked(&probe, &store).oneshot(put).await;
    let id = error.map(drop).unwrap_err().letter().unwrap();
    let letter = store.get(id).await.unwrap().unwrap().letter;
    assert_eq!(letter.failure.reason, Reason::NotIdempotent);
    assert!(!letter.is_repeatable());
    let summary = Replay::new()
        .run::<_, _, Full<Bytes>, _>(&store, stacked(&probe, &store))
        .await
        .unwrap();
    assert_eq!((summary.not_sent, probe.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_replay_through_the_same_stack_sends_the_same_key_and_makes_no_second_record() {
    let (probe, store) = (
        Probe::new().replies((0..3).map(|_| Reply::status(503))),
        MemoryStore::new(),
    );
    let client = stacked(&probe, &store);
    let mut request = charge();
    request.headers_mut().remove("authorization");
    client.clone().oneshot(request).await.unwrap();

    let replay = Replay::new();
    let summary = replay
        .run::<_, _, Full<Bytes>, _>(&store, client)
        .await
        .unwrap();
    assert_eq!(summary.delivered, 1);
    let seen = probe.seen();
    let keys: Vec<_> = seen
        .iter()
        .map(|seen| seen.headers.get("idempotency-key"))
        .collect();
    assert_eq!(keys.len(), 4);
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]));
    assert_eq!(store.stats().await.unwrap().undelivered(), 0);
}
