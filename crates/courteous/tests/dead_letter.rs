//! The standard stack with a dead letter in it: what it keeps, and where it tells so.
#![cfg(feature = "dead-letter")]
#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::time::Duration;

use bytes::Bytes;
use courteous::{
    Courteous, Stack,
    dead_letter::{
        BoxFuture, DeadLetterLayer, DeadLettered, Filter, Letter, LetterStore, MemoryStore, Page,
        Payload, PushError, Reason, Redrive, Sink,
    },
    idempotency::IdempotencyKeyLayer,
    retry::{Idempotent, RetryLayer},
};
use courteous_testkit::{Probe, Reply};
use http::Request;
use http_body_util::Full;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tower::ServiceExt;

const SECOND: Duration = Duration::from_secs(1);

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
async fn a_conditional_write_whose_answer_was_lost_is_kept_and_not_redriven_in_bulk() {
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
    let summary = Redrive::new()
        .run::<_, _, Full<Bytes>, _>(&store, stacked(&probe, &store))
        .await
        .unwrap();
    assert_eq!((summary.not_sent, probe.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_redrive_through_the_same_stack_sends_the_same_key_and_makes_no_second_record() {
    let (probe, store) = (
        Probe::new().replies((0..3).map(|_| Reply::status(503))),
        MemoryStore::new(),
    );
    let client = stacked(&probe, &store);
    let mut request = charge();
    request.headers_mut().remove("authorization");
    client.clone().oneshot(request).await.unwrap();

    let redrive = Redrive::new();
    let summary = redrive
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

/// A sink whose letters are durable after a second, whether or not that is waited for.
#[derive(Clone, Debug)]
struct Slow {
    store: MemoryStore,
    on_their_way: watch::Sender<usize>,
}

impl Sink for Slow {
    fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        let Self {
            store,
            on_their_way,
        } = self.clone();
        on_their_way.send_modify(|letters| *letters += 1);
        let written = tokio::spawn(async move {
            sleep(SECOND).await;
            let result = store.push(letter).await;
            on_their_way.send_modify(|letters| *letters -= 1);
            result
        });
        Box::pin(async { written.await.unwrap() })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut on_their_way = self.on_their_way.subscribe();
            on_their_way
                .wait_for(|letters| *letters == 0)
                .await
                .unwrap();
        })
    }
}

fn slow() -> Slow {
    Slow {
        store: MemoryStore::new(),
        on_their_way: watch::Sender::new(0),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_closed_client_rejects_is_kept_with_its_key() {
    let (probe, store) = (Probe::new(), MemoryStore::new());
    let client = stacked(&probe, &store);
    client.close(Instant::now()).await.unwrap();
    let error = client.oneshot(charge()).await.map(drop).unwrap_err();
    let record = store.get(error.letter().unwrap()).await.unwrap().unwrap();
    let failure = record.letter.failure;
    assert_eq!((failure.reason, failure.attempts), (Reason::Rejected, 0));
    assert!(!failure.maybe_sent && record.letter.headers.contains_key("idempotency-key"));
    assert_eq!(
        (probe.calls(), record.letter.payload),
        (0, Payload::Whole(Bytes::from("one")))
    );
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_the_letters_of_failed_and_of_dropped_calls() {
    let probe = Probe::new().otherwise(|_| Reply::status(503).after(SECOND));
    let sink = slow();
    let letters = DeadLetterLayer::new(sink.clone()).with_reason(Reason::Abandoned);
    let stack = Stack::new().with_dead_letter(letters);
    let client = stack.build().unwrap().layer(probe.clone());
    let call = tokio::spawn(client.clone().oneshot(charge()));
    let dropped = tokio::spawn(client.clone().oneshot(charge()));
    sleep(SECOND / 2).await;
    let start = Instant::now();
    let closing = client.close(start + 60 * SECOND);
    dropped.abort();
    closing.await.unwrap();
    // The response, and the letter.
    assert_eq!(start.elapsed(), 3 * SECOND / 2);
    let kept = sink.store.list(Filter::default(), Page::first(9)).await;
    let mut reasons = kept
        .unwrap()
        .into_iter()
        .map(|record| record.letter.failure.reason);
    assert_eq!(reasons.len(), 2);
    assert!(reasons.any(|reason| reason == Reason::Abandoned));
    assert_eq!(call.await.unwrap().unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_close_tells_of_letters_that_are_not_durable_at_its_deadline() {
    let probe = Probe::new().otherwise(|_| Reply::never());
    let sink = slow();
    let letters = DeadLetterLayer::new(sink.clone()).with_reason(Reason::Abandoned);
    let stack = Stack::new().with_dead_letter(letters);
    let client = stack.build().unwrap().layer(probe.clone());
    let dropped = tokio::spawn(client.clone().oneshot(charge()));
    sleep(SECOND).await;
    let left = client.close(Instant::now()).await.unwrap_err();
    assert_eq!((left.in_flight(), left.has_unflushed_letters()), (1, false));
    dropped.abort();
    let left = client.close(Instant::now() + SECOND / 2).await.unwrap_err();
    assert_eq!((left.in_flight(), left.has_unflushed_letters()), (0, true));
    assert_eq!(
        left.to_string(),
        "dead letters not durable at the deadline of the close"
    );
    client.close(Instant::now() + SECOND).await.unwrap();
    let kept = sink.store.list(Filter::default(), Page::first(9)).await;
    assert_eq!(kept.unwrap().len(), 1);
}

/// A call of a gRPC method whose answer is lost.
#[cfg(feature = "tonic")]
fn grpc(path: &str) -> Request<Full<Bytes>> {
    let request = Request::post(format!("http://api.test{path}"));
    let request = request.header("content-type", "application/grpc");
    request.body(Full::from("one")).unwrap()
}

#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn a_method_that_is_called_idempotent_is_retried_and_redriven() {
    let names = ["/shop.Catalog/Get", "/shop.Search/*"];
    for (path, is_one) in [
        ("/shop.Catalog/Get", true),
        ("/shop.Search/Find", true),
        ("/shop.Catalog/Buy", false),
    ] {
        let store = MemoryStore::new();
        let lost = Probe::new().otherwise(|_| Reply::fail("reset"));
        let stack = Stack::grpc().with_idempotent_methods(names).unwrap();
        let stack = stack.with_dead_letter(DeadLetterLayer::new(store.clone()));
        let client = stack.build().unwrap().layer(lost.clone());
        let status = client.oneshot(grpc(path)).await.map(drop).unwrap_err();
        let id = courteous::Error::new(status).letter().unwrap();
        let letter = store.get(id).await.unwrap().unwrap().letter;
        assert_eq!(letter.idempotent, is_one.then_some(true), "{path}");
        assert_eq!(letter.is_repeatable(), is_one, "{path}");
        assert_eq!(lost.calls() > 1, is_one, "{path}");
        // Through any stack: the word is kept with the letter.
        let back = Probe::new().replies([Reply::fail("reset")]);
        let summary = Redrive::new()
            .run::<_, _, Full<Bytes>, _>(&store, Stack::new().build().unwrap().layer(back.clone()))
            .await
            .unwrap();
        let expected = if is_one { (1, 0, 2) } else { (0, 1, 0) };
        assert_eq!(
            (summary.delivered, summary.not_sent, back.calls()),
            expected,
            "{path}"
        );
    }
}

#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn the_status_of_a_servers_answer_names_its_record() {
    let store = MemoryStore::new();
    let unavailable = Probe::new().otherwise(|_| {
        let reply = Reply::status(200).header("content-type", "application/grpc");
        reply.header("grpc-status", "14")
    });
    let stack = Stack::grpc().with_dead_letter(DeadLetterLayer::new(store.clone()));
    let client = stack.build().unwrap().layer(unavailable);
    let call = client.oneshot(grpc("/shop.Catalog/Buy")).await;
    let status = call.map(drop).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let id = courteous::Error::new(status).letter().unwrap();
    let letter = store.get(id).await.unwrap().unwrap().letter;
    assert_eq!(letter.failure.reason, Reason::NotIdempotent);
    assert!(!letter.is_repeatable());
}

#[tokio::test(start_paused = true)]
async fn the_word_of_the_retrys_settings_is_kept_unless_a_key_says_more() {
    let said = |said| RetryLayer::new().with_idempotent(move |_| said);
    let put = || Request::put("http://api.test/a");
    let keyed = || put().header("idempotency-key", "k");
    let unsaid = || {
        put()
            .extension(Idempotent(false))
            .header("idempotency-key", "k")
    };
    for (retry, request, kept) in [
        (said(None), put(), None),
        (said(Some(true)), put(), Some(true)),
        (said(Some(false)), put(), Some(false)),
        (said(Some(false)), keyed(), None),
        (said(Some(true)), unsaid(), Some(false)),
    ] {
        let store = MemoryStore::new();
        let lost = Probe::new().otherwise(|_| Reply::fail("reset"));
        let layer = DeadLetterLayer::new(store.clone());
        let stack = Stack::new().with_retry(retry).with_dead_letter(layer);
        let client = stack.build().unwrap().layer(lost.clone());
        let request: Request<Full<Bytes>> = request.body(Full::from("one")).unwrap();
        let error = client.oneshot(request).await.map(drop).unwrap_err();
        let letter = store
            .get(error.letter().unwrap())
            .await
            .unwrap()
            .unwrap()
            .letter;
        assert_eq!(letter.idempotent, kept);
        assert_eq!(letter.is_repeatable(), kept != Some(false));
        assert_eq!(lost.calls() > 1, kept != Some(false));
    }
}
