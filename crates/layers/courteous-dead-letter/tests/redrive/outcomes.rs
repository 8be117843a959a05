use std::{
    convert::Infallible,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex},
};

use courteous_core::{
    Attempt, CallContext, Effect, Fault, History, Idempotent, Outcome, RejectReason, Rejected,
    RetryInfo, StopReason, Verdict,
};
use courteous_dead_letter::{
    DeadLetterLayer, Failure, LetterStore, MemoryStore, NotSent, Payload, Reason, RedriveOutcome,
    Redriving, Sink, State, redrive,
};
use http::{HeaderName, Request, StatusCode};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::time::Instant;
use tower::{Layer, service_fn};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn the_same_request_is_sent_with_the_same_key_and_bytes_and_is_delivered() {
    let (clock, store, redrive) = setup();
    let letter = letter(&clock, HOUR);
    let id = push(&store, letter.clone()).await;
    let server = boxed(service_fn(move |request: Request<Body>| {
        assert_eq!(request.method(), letter.method);
        assert_eq!(*request.uri(), letter.uri);
        assert_eq!(*request.headers(), letter.headers);
        let redriving = request.extensions().get::<Redriving>().unwrap();
        assert_eq!(redriving.id(), letter.id);
        let context = CallContext::of(request.extensions());
        assert_eq!(context.time_left(Instant::now()), Some(30 * SECOND));
        async {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "amount=42");
            Ok::<_, Infallible>(response(201))
        }
    }));
    let summary = redrive.run(&store, server).await.unwrap();
    assert_eq!((summary.delivered, summary.total()), (1, 1));
    assert!(summary.is_success());
    let record = get(&store, id).await;
    let status = StatusCode::CREATED;
    assert_eq!(
        (record.state, record.redrives),
        (State::Delivered { status }, 1)
    );
}

#[tokio::test]
async fn an_answer_that_would_come_again_is_refused_and_kept_with_its_status() {
    for code in [304, 400, 404, 422, 501] {
        let (clock, store, redrive) = setup();
        let id = push(&store, letter(&clock, HOUR)).await;
        let summary = redrive
            .run(&store, Ledger::default().server(code))
            .await
            .unwrap();
        assert_eq!((summary.refused, summary.total()), (1, 1));
        assert!(!summary.is_success());
        let status = StatusCode::from_u16(code).unwrap();
        assert_eq!(state(&store, id).await, State::Refused { status });
    }
}

#[tokio::test]
async fn a_classifier_of_ones_own_sees_the_request_that_is_sent_again() {
    let (clock, store, redrive) = setup();
    let letter = letter(&clock, HOUR);
    let (method, uri) = (letter.method.clone(), letter.uri.clone());
    let id = push(&store, letter).await;
    let redrive = redrive.with_classifier(move |outcome: Outcome<'_>| {
        let request = outcome.request().unwrap();
        match (request.method(), request.uri()) == (&method, &uri) {
            true => Verdict::transient(Effect::MaybeProcessed, Fault::Server),
            false => Verdict::Answered,
        }
    });
    let summary = redrive
        .run(&store, Ledger::default().server(404))
        .await
        .unwrap();
    assert_eq!((summary.failed, summary.total()), (1, 1));
    assert_eq!(state(&store, id).await, State::Pending);
}

#[cfg(feature = "tracing")]
#[tokio::test]
async fn each_record_is_told_to_a_subscriber_with_its_request() {
    let (clock, store, redrive) = setup();
    let letter = letter(&clock, HOUR);
    let of = format!("method={} origin={}", letter.method, letter.origin());
    let id = push(&store, letter).await;
    let events = courteous_testkit::Events::listen();
    redrive
        .run(&store, Ledger::default().server(404))
        .await
        .unwrap();
    let expected =
        format!("DEBUG courteous::dead_letter replayed id={id} outcome=refused status=404 {of}");
    assert_eq!(events.take(), [expected]);
}

#[tokio::test]
async fn a_grpc_failure_is_not_delivered_though_it_is_a_200() {
    for (code, expected) in [
        ("0", DELIVERED),
        (
            "3",
            State::Refused {
                status: StatusCode::BAD_REQUEST,
            },
        ),
        (
            "12",
            State::Refused {
                status: StatusCode::NOT_IMPLEMENTED,
            },
        ),
        // Refused credentials, and a server that is away: both may pass.
        ("7", State::Pending),
        ("16", State::Pending),
        ("14", State::Pending),
    ] {
        let (clock, store, redrive) = setup();
        let id = push(&store, letter(&clock, HOUR)).await;
        let server = boxed(service_fn(move |_: Request<Body>| {
            let response = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", code);
            async { response.body(Body::default()) }
        }));
        redrive.run(&store, server).await.unwrap();
        assert_eq!(state(&store, id).await, expected, "grpc-status {code}");
    }
}

#[tokio::test]
async fn the_callers_word_goes_with_the_request() {
    for said in [None, Some(true), Some(false)] {
        let (clock, store, redrive) = setup();
        let mut letter = letter(&clock, HOUR);
        letter.idempotent = said;
        letter.failure.maybe_sent = said != Some(false);
        let id = push(&store, letter).await;
        let server = boxed(service_fn(move |request: Request<Body>| {
            let word = request.extensions().get();
            assert_eq!(word.map(|&Idempotent(said)| said), said);
            async { Ok::<_, Infallible>(response(200)) }
        }));
        redrive.run(&store, server).await.unwrap();
        assert_eq!(state(&store, id).await, DELIVERED);
    }
}

#[tokio::test]
async fn a_409_is_final_only_without_a_key_or_for_the_last_time() {
    let (clock, store, redrive) = setup();
    let redrive = redrive.with_max_redrives(2);
    let keyed = push(&store, letter(&clock, HOUR)).await;
    let mut keyless = without_key(letter(&clock, HOUR));
    keyless.failure.maybe_sent = false;
    let keyless = push(&store, keyless).await;
    let ledger = Ledger::default();
    let summary = redrive.run(&store, ledger.server(409)).await.unwrap();
    assert_eq!(
        (summary.failed, summary.refused, summary.total()),
        (1, 1, 2)
    );
    let status = StatusCode::CONFLICT;
    assert_eq!(state(&store, keyless).await, State::Refused { status });
    let record = get(&store, keyed).await;
    assert_eq!((record.state, record.redrives), (State::Pending, 1));
    assert_eq!(record.letter.failure.last_status, Some(status));
    let summary = redrive.run(&store, ledger.server(409)).await.unwrap();
    assert_eq!((summary.expired, summary.total()), (1, 1));
    assert_eq!(state(&store, keyed).await, State::Expired);
}

#[tokio::test]
async fn answers_that_other_credentials_may_change_end_the_run_and_settle_no_record() {
    for code in [401, 403, 407] {
        let (clock, store, redrive) = setup();
        let mut ids = Vec::new();
        for age in 1..=5 {
            ids.push(push(&store, letter(&clock, age * HOUR)).await);
        }
        let redrive = redrive
            .with_max_redrives(2)
            .with_concurrency(NonZeroUsize::MIN)
            .with_max_failures_in_row(NonZeroU32::new(3));
        let ledger = Ledger::default();
        let summary = redrive.run(&store, ledger.server(code)).await.unwrap();
        assert_eq!((summary.failed, summary.total()), (3, 3), "{code}");
        assert!(summary.stopped_early);
        let record = get(&store, ids[4]).await;
        assert_eq!((record.state, record.redrives), (State::Pending, 1));
        let failure = record.letter.failure;
        assert_eq!((failure.reason, failure.attempts), (Reason::Permanent, 2));
        let status = StatusCode::from_u16(code).unwrap();
        assert_eq!(failure.last_status, Some(status));
        assert_eq!(failure.history[1].verdict, Verdict::Answered);
        // With a fresh token, all are delivered.
        let summary = redrive.run(&store, ledger.server(200)).await.unwrap();
        assert_eq!((summary.delivered, summary.total()), (5, 5));
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_goes_back_to_its_record_with_the_attempts_of_both() {
    let (clock, store, redrive) = setup();
    let id = push(&store, letter(&clock, HOUR)).await;
    // A stack with a retry and its own dead-letter layer, which must not record the call again.
    let other = MemoryStore::new();
    let server = service_fn(async |_: Request<Body>| {
        let mut response = response(503);
        let mut history = History::new();
        for number in 1..=3 {
            let verdict = Verdict::transient(Effect::Refused, Fault::Server);
            let status = Some(StatusCode::SERVICE_UNAVAILABLE);
            history.push(Attempt::new(number, Instant::now(), verdict, status));
        }
        let not_before = Some(Instant::now() + 90 * SECOND);
        let stop = StopReason::WaitTooLong;
        let info = RetryInfo::new(3, Duration::ZERO, stop, not_before, history);
        response.extensions_mut().insert(info);
        Ok::<_, Infallible>(response)
    });
    let stack = boxed(DeadLetterLayer::new(other.clone()).layer(server));
    let summary = redrive.run(&store, stack).await.unwrap();
    assert_eq!((summary.failed, summary.total()), (1, 1));
    assert_eq!(other.stats().await.unwrap().total(), 0);

    let record = get(&store, id).await;
    assert_eq!((record.state, record.redrives), (State::Pending, 1));
    let Failure {
        reason,
        attempts,
        history,
        last_status,
        last_at,
        not_before,
        ..
    } = record.letter.failure;
    assert_eq!((reason, attempts), (Reason::WaitTooLong, 4));
    let numbers: Vec<_> = history.iter().map(|past| past.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(last_status, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(
        (last_at, not_before),
        (clock.now(), Some(clock.now() + 90 * SECOND))
    );
    // The key's age is still counted from the first attempt.
    assert_eq!(record.letter.first_at, clock.now() - HOUR);
}

#[tokio::test]
async fn an_error_is_written_into_the_record() {
    let (clock, store, redrive) = setup();
    let id = push(&store, letter(&clock, HOUR)).await;
    let server = service_fn(async |_: Request<Body>| {
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
    });
    redrive.run(&store, boxed(server)).await.unwrap();
    let failure = get(&store, id).await.letter.failure;
    assert_eq!(failure.last_error.unwrap(), "connection refused");
    // The earlier attempt may have been sent, whatever the outcome of this one.
    assert!(failure.maybe_sent);
}

#[tokio::test]
async fn a_record_is_redriven_so_often_and_then_expires() {
    let (clock, store, redrive) = setup();
    let redrive = redrive.with_max_redrives(3);
    let id = push(&store, letter(&clock, HOUR)).await;
    let ledger = Ledger::default();
    for round in 1..=4 {
        let summary = redrive.run(&store, ledger.server(503)).await.unwrap();
        let expected = match round {
            1 | 2 => (1, 0),
            3 => (0, 1),
            _ => (0, 0),
        };
        assert_eq!((summary.failed, summary.expired), expected, "round {round}");
    }
    let record = get(&store, id).await;
    assert_eq!((record.state, record.redrives), (State::Expired, 3));
    assert_eq!(record.letter.failure.attempts, 4);
    assert_eq!(ledger.requests().len(), 3);
}

#[tokio::test]
async fn what_a_limit_of_ours_rejects_is_not_sent_and_counts_no_redrive() {
    let (clock, store, redrive) = setup();
    let id = push(&store, letter(&clock, HOUR)).await;
    let before = get(&store, id).await.letter;
    let server = service_fn(async |_: Request<Body>| Err(Rejected::new(RejectReason::QueueFull)));
    let summary = redrive.run(&store, boxed(server)).await.unwrap();
    assert_eq!((summary.not_sent, summary.total()), (1, 1));
    let record = get(&store, id).await;
    assert_eq!((record.state, record.redrives), (State::Pending, 0));
    assert_eq!(record.letter, before);
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_goes_on_beyond_the_deadline_is_cut_off_within_the_lease() {
    let (clock, store, redrive) = setup();
    let redrive = redrive.with_total_timeout(10 * SECOND);
    let id = push(&store, letter(&clock, HOUR)).await;
    let start = Instant::now();
    let slow = Ledger::default().server_after(HOUR, 200);
    redrive.run(&store, slow).await.unwrap();
    assert_eq!(start.elapsed(), 15 * SECOND);
    let failure = get(&store, id).await.letter.failure;
    assert_eq!(
        (failure.reason, failure.maybe_sent),
        (Reason::Deadline, true)
    );
}

#[tokio::test]
async fn the_hook_hears_of_each_record_and_all_so_far() {
    let (clock, store, redrive) = setup();
    let first = push(&store, letter(&clock, 2 * HOUR)).await;
    let mut gone = letter(&clock, HOUR);
    gone.payload = Payload::Gone;
    let second = push(&store, gone).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hook = heard.clone();
    let redrive = redrive
        .with_concurrency(std::num::NonZeroUsize::MIN)
        .with_on_progress(move |progress| {
            let outcome = match progress.outcome() {
                RedriveOutcome::Delivered { status } => status.to_string(),
                RedriveOutcome::NotSent(why @ NotSent::BodyIncomplete) => why.to_string(),
                other => panic!("{other:?}"),
            };
            let so_far = progress.summary().total();
            hook.lock().unwrap().push((progress.id(), outcome, so_far));
        });
    redrive
        .run(&store, Ledger::default().server(200))
        .await
        .unwrap();
    let expected = [
        (first, "200 OK".to_owned(), 1),
        (second, "its body was not kept whole".to_owned(), 2),
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[tokio::test]
async fn letters_of_a_layer_are_redriven_through_the_same_stack_by_the_short_form() {
    let store = MemoryStore::new();
    let up = Arc::new(Mutex::new(false));
    let server = {
        let up = up.clone();
        service_fn(move |request: Request<Body>| {
            assert_eq!(request.headers()["paypal-request-id"], "42");
            let code = if *up.lock().unwrap() { 200 } else { 503 };
            async move { Ok::<_, Infallible>(response(code)) }
        })
    };
    let name = HeaderName::from_static("paypal-request-id");
    let layer = DeadLetterLayer::new(store.clone()).with_key_header(name.clone());
    let stack = boxed(layer.layer(server));
    let mut request = Request::post("https://api.example.com/")
        .body(Body::from("pay"))
        .unwrap();
    request.headers_mut().insert(name, "42".parse().unwrap());
    let response = tower::ServiceExt::oneshot(stack.clone(), request)
        .await
        .unwrap();
    assert_eq!(response.status(), 503);

    assert_eq!(redrive(&store, stack.clone()).await.unwrap().failed, 1);
    *up.lock().unwrap() = true;
    assert_eq!(redrive(&store, stack).await.unwrap().delivered, 1);
    assert_eq!(store.stats().await.unwrap().undelivered(), 0);
}

#[tokio::test]
async fn a_redrive_can_be_spawned() {
    let (clock, store, redrive) = setup();
    store.push(letter(&clock, HOUR)).await.unwrap();
    let server = Ledger::default().server(200);
    let summary = tokio::spawn(async move {
        let store: Arc<dyn LetterStore> = Arc::new(store);
        redrive.run(&*store, server).await
    });
    assert_eq!(summary.await.unwrap().unwrap().delivered, 1);
}

#[tokio::test]
async fn a_409_under_a_key_is_in_progress_only_after_an_attempt_that_may_be() {
    let refused = State::Refused {
        status: StatusCode::CONFLICT,
    };
    for (sent, processed, expected) in [
        (true, true, State::Pending),
        (true, false, refused),
        (false, true, refused),
    ] {
        let (clock, store, redrive) = setup();
        let mut letter = letter(&clock, HOUR);
        letter.failure.maybe_sent = sent;
        letter.failure.maybe_processed = processed;
        let id = push(&store, letter).await;
        let ledger = Ledger::default();
        redrive.run(&store, ledger.server(409)).await.unwrap();
        assert_eq!(state(&store, id).await, expected, "{sent} {processed}");
    }
}
