use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use courteous_core::{Elapsed, Scope, find_cause, test_util};
use courteous_dead_letter::{
    DeadLetterLayer, DeadLettered, LetterOutcome, NotRecorded, NotRecordedCause, PushError,
};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

use crate::support::*;

fn slow(delay: Duration) -> (Scripted, DeadLetterLayer) {
    let sink = Scripted {
        delay: Some(delay),
        ..Scripted::default()
    };
    (sink.clone(), DeadLetterLayer::new(sink))
}

fn full() -> DeadLetterLayer {
    DeadLetterLayer::new(Scripted {
        full: true,
        ..Scripted::default()
    })
}

#[tokio::test(start_paused = true)]
async fn the_caller_gets_the_outcome_when_the_letter_is_durable() {
    let (sink, layer) = slow(SECOND);
    let start = Instant::now();
    let response = answered(&layer, 503).await;
    assert_eq!(start.elapsed(), SECOND);
    let id = DeadLettered::of(&response).unwrap().id();
    assert_eq!(sink.letters.lock().unwrap()[0].id, id);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "answer");
}

#[tokio::test(start_paused = true)]
async fn the_calls_error_is_the_source_of_both_outcomes() {
    for (layer, recorded) in [(slow(SECOND).1, true), (full(), false)] {
        let server = async |_| Err(Elapsed::new(SECOND, Scope::Total));
        let error = call(&layer, post(), server).await.unwrap_err();
        assert_eq!(error.is::<DeadLettered>(), recorded);
        assert_eq!(error.is::<NotRecorded>(), !recorded);
        assert_eq!(
            find_cause::<Elapsed>(&*error),
            Some(&Elapsed::new(SECOND, Scope::Total))
        );
    }
}

#[tokio::test]
async fn a_sink_that_rejects_is_told_of_in_the_response() {
    let response = answered(&full(), 503).await;
    assert_eq!(response.status(), 503);
    assert!(DeadLettered::of(&response).is_none());
    let not = NotRecorded::of(&response).unwrap();
    let NotRecordedCause::Rejected(error) = not.cause() else {
        panic!("{not:?}");
    };
    assert!(matches!(**error, PushError::Full));
    assert_eq!(
        not.to_string(),
        "not kept as a dead letter: the store of dead letters is full"
    );
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_can_have_no_id_is_not_recorded_and_the_caller_is_told() {
    let (sink, layer) = slow(SECOND);
    // The id is drawn when the call has failed, in the first poll.
    let server = service_fn(async |_| Ok::<_, std::convert::Infallible>(status(503)));
    let mut call = tokio_test::task::spawn(layer.layer(server).oneshot(post()));
    let response = match test_util::without_random_bytes(|| call.poll()) {
        Poll::Ready(response) => response.unwrap(),
        Poll::Pending => panic!("nothing is waited for"),
    };
    let not = NotRecorded::of(&response).unwrap();
    assert!(matches!(not.cause(), NotRecordedCause::NoId(_)), "{not:?}");
    assert_eq!(
        not.to_string(),
        "not kept as a dead letter: it has no id: the operating system gave no random bytes"
    );
    assert!(sink.letters.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_call_can_be_made_to_fail_if_it_is_not_recorded() {
    let layer = full().with_must_record(true);
    let server = async |_| Ok::<_, std::convert::Infallible>(status(503));
    let error = call(&layer, post(), server).await.unwrap_err();
    assert!(error.is::<NotRecorded>());
    // An answer is still an answer.
    assert_eq!(answered(&layer, 200).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn recording_ends_at_its_own_timeout_and_the_letter_stays_with_the_sink() {
    for limit in [Duration::ZERO, SECOND, 2 * SECOND] {
        let (sink, layer) = slow(10 * SECOND);
        let start = Instant::now();
        let response = answered(&layer.with_record_timeout(limit), 503).await;
        assert_eq!(start.elapsed(), limit);
        let not = NotRecorded::of(&response).unwrap();
        assert!(matches!(not.cause(), NotRecordedCause::TimedOut(own) if *own == limit));
        assert_eq!(sink.letters.lock().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn recording_may_take_as_long_as_it_takes() {
    let (_, layer) = slow(1_000_000 * SECOND);
    let response = answered(&layer.with_record_timeout(Duration::MAX), 503).await;
    assert!(DeadLettered::of(&response).is_some());
}

#[tokio::test(start_paused = true)]
async fn two_seconds_are_given_by_default() {
    let (_, layer) = slow(2 * SECOND);
    assert!(DeadLettered::of(&answered(&layer, 503).await).is_some());
    let (_, layer) = slow(2 * SECOND + Duration::from_millis(1));
    assert!(NotRecorded::of(&answered(&layer, 503).await).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_future_dropped_while_it_records_takes_nothing_back() {
    let (sink, layer) = slow(SECOND);
    let server = service_fn(async |_| Ok::<_, std::convert::Infallible>(status(503)));
    let mut call = tokio_test::task::spawn(layer.layer(server).oneshot(post()));
    assert!(call.poll().is_pending());
    drop(call);
    assert_eq!(sink.letters.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_hook_hears_of_every_letter_and_its_outcome() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listen = |layer: DeadLetterLayer| {
        let heard = heard.clone();
        layer.with_on_letter(move |event| {
            let outcome = match event.outcome() {
                LetterOutcome::Recorded => "recorded",
                LetterOutcome::NotRecorded(error) if error.id() == event.letter().id => {
                    "not recorded"
                }
                LetterOutcome::HandedOver => "handed over",
                _ => "what?",
            };
            assert_eq!(event.letter().uri.path(), "/charges");
            heard.lock().unwrap().push(outcome);
        })
    };
    answered(&listen(slow(SECOND).1), 503).await;
    answered(&listen(slow(9 * SECOND).1), 503).await;
    answered(&listen(full()), 503).await;
    answered(&listen(full()), 200).await;
    let dropped = listen(slow(SECOND).1);
    let server = service_fn(async |_| Ok::<_, std::convert::Infallible>(status(503)));
    let mut call = tokio_test::task::spawn(dropped.layer(server).oneshot(post()));
    assert!(call.poll().is_pending());
    drop(call);
    let heard = heard.lock().unwrap();
    assert_eq!(
        *heard,
        ["recorded", "not recorded", "not recorded", "handed over"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_counts_letters_by_what_became_of_them() {
    let (_, layer) = slow(SECOND);
    answered(&layer, 503).await;
    answered(&layer.clone(), 503).await;
    assert!(answered(&layer, 200).await.status().is_success());
    let server = service_fn(async |_| Ok::<_, std::convert::Infallible>(status(503)));
    let service = layer.layer(server);
    let mut dropped = tokio_test::task::spawn(service.clone().oneshot(post()));
    assert!(dropped.poll().is_pending());
    drop(dropped);
    let counts = service.snapshot();
    assert_eq!(counts, layer.snapshot());
    assert_eq!(
        (counts.recorded, counts.handed_over, counts.not_recorded),
        (2, 1, 0)
    );

    let full = full();
    answered(&full, 503).await;
    assert_eq!(
        (full.snapshot().recorded, full.snapshot().not_recorded),
        (0, 1)
    );
}
