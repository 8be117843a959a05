use std::{convert::Infallible, io};

use bytes::Bytes;
use courteous_core::{
    Attempt, BoxError, CallContext, CallRecord, Classified, Effect, Elapsed, Fault, NoteKind,
    Outcome, RejectReason, Rejected, Retried, Scope, StopReason, Verdict, find_cause,
};
use courteous_dead_letter::{DeadLettered, NotRecorded, NotRecordedCause, Payload, Reason, Tags};
use http::{HeaderName, Method, Request, Response, StatusCode};
use tokio::time::{Instant, sleep};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_call_that_has_finally_failed_is_recorded_with_all_it_takes_to_send_it_again() {
    let (clock, store, layer) = layer();
    let mut request = post();
    request
        .headers_mut()
        .insert("idempotency-key", "8e03".parse().unwrap());
    request
        .headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    request
        .extensions_mut()
        .insert(Tags::new().with("order", "42"));
    let response = call(&layer, request, async |request| {
        let record = record_of(&request);
        record.begin_attempt();
        sleep(2 * SECOND).await;
        let mut response = status(503);
        let info = info(StopReason::AttemptsExhausted, &[NEVER_SENT, FAILED]);
        response.extensions_mut().insert(info);
        Ok::<_, Infallible>(response)
    })
    .await
    .unwrap();
    assert_eq!(response.status(), 503);

    let letter = letter(&store).await;
    let recorded = DeadLettered::of(&response).unwrap();
    assert_eq!(
        (recorded.id(), recorded.reason()),
        (letter.id, Reason::Attempts)
    );
    assert!(NotRecorded::of(&response).is_none());
    assert_eq!(
        (letter.method.as_str(), letter.uri.path()),
        ("POST", "/charges")
    );
    assert_eq!(letter.payload, Payload::Whole(Bytes::from("amount=42")));
    assert_eq!(letter.headers.len(), 2);
    assert_eq!(letter.key().unwrap(), "8e03");
    assert_eq!(letter.tags, Tags::new().with("order", "42"));
    assert_eq!(letter.first_at, clock.now() - 2 * SECOND);
    let failure = letter.failure;
    assert_eq!((failure.attempts, failure.maybe_sent), (2, true));
    assert_eq!(failure.last_status, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!((failure.last_error, failure.last_at), (None, clock.now()));
    let verdicts: Vec<_> = failure.history.iter().map(|past| past.verdict).collect();
    assert_eq!(verdicts, [NEVER_SENT, FAILED]);
    assert_eq!(failure.history[0].ended, clock.now());
}

#[tokio::test]
async fn an_answer_is_not_recorded_and_carries_nothing() {
    let (_, store, layer) = layer();
    for code in [200, 204, 302, 400, 404, 409, 422, 501] {
        let response = answered(&layer, code).await;
        assert!(DeadLettered::of(&response).is_none(), "{code}");
        assert!(NotRecorded::of(&response).is_none(), "{code}");
    }
    assert!(letters(&store).await.is_empty());
}

#[tokio::test]
async fn without_a_retry_what_may_pass_is_recorded() {
    let (_, store, layer) = layer();
    for code in [408, 429, 500, 502, 503, 504] {
        let response = answered(&layer, code).await;
        let recorded = DeadLettered::of(&response).unwrap();
        assert_eq!(recorded.reason(), Reason::NotRetried);
    }
    let all = letters(&store).await;
    assert_eq!(all.len(), 6);
    assert!(all.iter().all(|letter| letter.failure.attempts == 1));
    assert!(all.iter().all(|letter| letter.failure.history.len() == 1));
}

#[tokio::test]
async fn a_classifier_of_ones_own_judges_where_no_retry_does() {
    let (_, store, layer) = layer();
    let layer = layer.with_classifier(|_: courteous_core::Outcome<'_>| FAILED);
    answered(&layer, 404).await;
    let letter = letter(&store).await;
    assert_eq!(letter.failure.last_status, Some(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn a_classifier_of_ones_own_sees_the_request() {
    let (clock, store, layer) = layer();
    let layer = layer.with_classifier(|outcome: Outcome<'_>| {
        let request = outcome.request().unwrap();
        let is_charge = request.method() == Method::POST && request.uri().path() == "/charges";
        match (is_charge, outcome.result()) {
            (true, Ok(head)) if head.status() == 402 => FAILED,
            (true, Err(_)) => NEVER_SENT,
            _ => Verdict::Answered,
        }
    });
    let declined = async |_| Ok::<_, Infallible>(status(402));
    let reset = async |_| Err::<Response<Body>, _>("reset");
    let other = || {
        Request::post("https://api.example.com/notes")
            .body(Body::default())
            .unwrap()
    };
    assert!(call(&layer, other(), declined).await.is_ok());
    assert!(call(&layer, other(), reset).await.is_err());
    assert!(letters(&store).await.is_empty());
    assert!(call(&layer, post(), declined).await.is_ok());
    // Letters recorded at the same time have no order.
    clock.advance(SECOND);
    assert!(call(&layer, post(), reset).await.is_err());
    let sent: Vec<_> = letters(&store)
        .await
        .iter()
        .map(|letter| letter.failure.maybe_sent)
        .collect();
    assert_eq!(sent, [true, false]);
}

#[tokio::test]
async fn the_retrys_reason_is_the_records() {
    for (stop, reason) in [
        (StopReason::AttemptsExhausted, Reason::Attempts),
        (StopReason::BudgetExhausted, Reason::Budget),
        (StopReason::Deadline, Reason::Deadline),
        (StopReason::WaitTooLong, Reason::WaitTooLong),
        (StopReason::NotIdempotent, Reason::NotIdempotent),
        (StopReason::BodyNotReplayable, Reason::BodyNotReplayable),
        (StopReason::Disabled, Reason::NotRetried),
        (StopReason::Rejected, Reason::Rejected),
    ] {
        let (_, store, layer) = layer();
        let error = call(&layer, post(), async |_| {
            Err(Retried::new(info(stop, &[NEVER_SENT]), "reset".into()))
        })
        .await
        .unwrap_err();
        let recorded = find_cause::<DeadLettered>(&*error).unwrap();
        assert_eq!(recorded.reason(), reason);
        let letter = letter(&store).await;
        assert_eq!((letter.id, letter.failure.reason), (recorded.id(), reason));
        assert!(!letter.failure.maybe_sent);
    }
}

#[tokio::test]
async fn what_would_fail_alike_again_is_not_recorded_unless_it_is_asked_for() {
    for (stop, reason) in [
        (StopReason::Permanent, Reason::Permanent),
        (StopReason::Vetoed, Reason::Vetoed),
    ] {
        let (_, store, layer) = layer();
        let server = async |_| {
            let info = info(stop, &[Verdict::Permanent]);
            Err::<_, Retried>(Retried::new(info, "no such scheme".into()))
        };
        let error = call(&layer, post(), server).await.unwrap_err();
        assert!(error.is::<Retried>(), "passed through as it is");
        assert!(letters(&store).await.is_empty());
        call(&layer.with_reason(reason), post(), server)
            .await
            .unwrap_err();
        assert_eq!(letter(&store).await.failure.reason, reason);
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_sent_is_recorded_whatever_was_to_be_done_with_it() {
    let keyed = || {
        let mut request = post();
        let key = "8e03".parse().unwrap();
        request.headers_mut().insert("idempotency-key", key);
        request
    };
    let get = || Request::get("/").body(Body::default()).unwrap();
    for (request, retried) in [
        (post(), false),
        (keyed(), false),
        (get(), false),
        (post(), true),
        (keyed(), true),
        (get(), true),
    ] {
        let (_, store, layer) = layer();
        let error = call(&layer, request, async |_| {
            let error = Classified::new(Verdict::Unsendable, "unknown certificate");
            let error: courteous_core::BoxError = match retried {
                true => {
                    let info = info(StopReason::Permanent, &[Verdict::Unsendable]);
                    Retried::new(info, error.into()).into()
                }
                false => error.into(),
            };
            Err(error)
        })
        .await
        .unwrap_err();
        let recorded = find_cause::<DeadLettered>(&*error).unwrap();
        assert_eq!(recorded.reason(), Reason::Unsendable);
        let letter = letter(&store).await;
        assert!(!letter.failure.maybe_sent && letter.is_repeatable());
        assert_eq!(letter.failure.history[0].verdict, Verdict::Unsendable);
        let error = letter.failure.last_error.unwrap();
        assert!(error.ends_with("unknown certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_call_whose_last_attempt_was_not_sent_is_recorded_with_those_before() {
    // Another certificate since the first attempt; and a service that was not ready for a second
    // attempt.
    for verdicts in [&[FAILED, Verdict::Unsendable][..], &[FAILED]] {
        let (_, store, layer) = layer();
        call(&layer, post(), async |_| {
            let info = info(StopReason::Permanent, verdicts);
            Err(Retried::new(info, "no connection".into()))
        })
        .await
        .unwrap_err();
        let failure = letter(&store).await.failure;
        assert_eq!(failure.reason, Reason::Unsendable);
        assert!(failure.maybe_sent);
    }
}

#[tokio::test]
async fn a_call_that_costs_more_than_a_limit_ever_gives_is_recorded() {
    let rejected = Rejected::new(RejectReason::CostAboveBurst);
    for retried in [false, true] {
        let (_, store, layer) = layer();
        call(&layer, post(), async |_| {
            Err::<_, courteous_core::BoxError>(match retried {
                true => Retried::new(info(StopReason::Rejected, &[]), rejected.into()).into(),
                false => rejected.into(),
            })
        })
        .await
        .unwrap_err();
        let failure = letter(&store).await.failure;
        assert_eq!(failure.reason, Reason::Unsendable);
        assert_eq!((failure.attempts, failure.maybe_sent), (0, false));
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_sent_is_left_out_by_choice() {
    let (_, store, layer) = layer();
    let layer = layer.without_reason(Reason::Unsendable);
    let server = async |_| Err(Classified::new(Verdict::Unsendable, "no such scheme"));
    call(&layer, post(), server).await.unwrap_err();
    assert!(letters(&store).await.is_empty());
}

#[tokio::test]
async fn a_reason_that_does_not_count_is_passed_through() {
    let (_, store, layer) = layer();
    let response = answered(&layer.without_reason(Reason::NotRetried), 503).await;
    assert!(DeadLettered::of(&response).is_none());
    assert!(letters(&store).await.is_empty());
}

#[tokio::test]
async fn what_the_filter_does_not_let_through_is_left_alone() {
    let (_, store, layer) = layer();
    let layer = layer.with_filter(|request| !request.method().is_safe());
    let get = Request::get("/").body(Body::default()).unwrap();
    let response = call(&layer, get, async |request| {
        assert!(CallRecord::of(request.extensions()).is_none());
        Ok::<_, Infallible>(status(503))
    });
    assert!(DeadLettered::of(&response.await.unwrap()).is_none());
    answered(&layer, 503).await;
    assert_eq!(letters(&store).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_total_timeout_the_record_tells_what_was_tried() {
    for sent in [false, true] {
        let (_, store, layer) = layer();
        call(&layer, post(), async |request| {
            let record = record_of(&request);
            record.begin_attempt();
            record.fail_attempt(Attempt::new(1, Instant::now(), NEVER_SENT, None));
            if sent {
                record.begin_attempt();
            }
            Err(Elapsed::new(SECOND, Scope::Total))
        })
        .await
        .unwrap_err();
        let failure = letter(&store).await.failure;
        assert_eq!(failure.reason, Reason::Deadline);
        assert_eq!(
            (failure.attempts, failure.maybe_sent),
            (1 + u32::from(sent), sent)
        );
        assert_eq!(failure.last_error.unwrap(), "call not finished within 1s");
        assert_eq!(failure.history.len(), 1);
    }
}

#[tokio::test]
async fn what_is_not_known_to_be_unsent_may_have_been_sent() {
    for (error, maybe_sent) in [
        (Elapsed::new(SECOND, Scope::Total).into(), true),
        (Elapsed::new(SECOND, Scope::Attempt).into(), true),
        (io::Error::from(io::ErrorKind::ConnectionReset).into(), true),
        (
            io::Error::from(io::ErrorKind::ConnectionRefused).into(),
            false,
        ),
        (Rejected::new(RejectReason::QueueFull).into(), false),
        (Classified::new(NEVER_SENT, "dns").into(), false),
    ] {
        let (_, store, layer) = layer();
        let error: courteous_core::BoxError = error;
        let text = error.to_string();
        let error = std::sync::Mutex::new(Some(error));
        let server = async |_| Err(error.lock().unwrap().take().unwrap());
        call(&layer, post(), server).await.unwrap_err();
        assert_eq!(
            letter(&store).await.failure.maybe_sent,
            maybe_sent,
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn not_before_is_what_the_server_or_a_limit_has_said() {
    let (clock, store, layer) = layer();
    call(&layer, post(), async |_| {
        let mut response = status(429);
        response
            .headers_mut()
            .insert("retry-after", "90".parse().unwrap());
        Ok::<_, Infallible>(response)
    })
    .await
    .unwrap();
    let expected = Some(clock.now() + 90 * SECOND);
    assert_eq!(letter(&store).await.failure.not_before, expected);

    let (clock, store, layer) = crate::support::layer();
    call(&layer, post(), async |_| {
        let rejected = Rejected::new(RejectReason::Paused);
        Err(rejected.with_wait(Instant::now(), 30 * SECOND))
    })
    .await
    .unwrap_err();
    let expected = Some(clock.now() + 30 * SECOND);
    assert_eq!(letter(&store).await.failure.not_before, expected);
}

#[tokio::test]
async fn the_key_may_have_another_name() {
    let (_, store, layer) = layer();
    let name = HeaderName::from_static("paypal-request-id");
    let layer = layer.with_key_header(name.clone());
    let mut request = post();
    request
        .headers_mut()
        .insert(&name, "order-42".parse().unwrap());
    call(&layer, request, async |_| Ok::<_, Infallible>(status(503)))
        .await
        .unwrap();
    let letter = letter(&store).await;
    assert_eq!(letter.key().unwrap(), "order-42");
    assert_eq!(letter.key_header, Some(name));
}

#[tokio::test]
async fn a_field_that_holds_no_key_is_recorded_as_none() {
    let values: [&[&str]; 4] = [&[" "], &["\"\""], &["a key"], &["8e03", "8e03"]];
    for values in values {
        let (_, store, layer) = layer();
        let mut request = post();
        request.headers_mut().remove("idempotency-key");
        for value in values {
            let value = value.parse().unwrap();
            request.headers_mut().append("idempotency-key", value);
        }
        call(&layer, request, async |_| Ok::<_, Infallible>(status(503)))
            .await
            .unwrap();
        let letter = letter(&store).await;
        assert_eq!((letter.key(), &letter.key_header), (None, &None));
        assert!(!letter.is_repeatable(), "{values:?}");
    }
}

#[tokio::test]
async fn inside_a_retry_it_records_nothing_and_says_so() {
    let (_, store, layer) = layer();
    let mut request = post();
    CallContext::edit(request.extensions_mut()).set_attempt(std::num::NonZeroU32::MIN);
    let server = async |_| Ok::<_, Infallible>(status(503));
    let response = call(&layer, request, server).await.unwrap();
    let not = NotRecorded::of(&response).unwrap();
    assert!(matches!(not.cause(), NotRecordedCause::RetryOutside));
    assert!(letters(&store).await.is_empty());
}

#[tokio::test]
async fn the_tags_go_no_further_in_and_the_record_does() {
    let (_, _, layer) = layer();
    let mut request = post();
    request
        .extensions_mut()
        .insert(Tags::new().with("order", "42"));
    call(&layer, request, async |request| {
        assert!(request.extensions().get::<Tags>().is_none());
        assert!(CallRecord::of(request.extensions()).is_some());
        Ok::<_, Infallible>(status(200))
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_record_that_a_layer_outside_has_made_is_shared() {
    let (_, store, layer) = layer();
    let mut request = post();
    let record = CallRecord::of_or_insert(request.extensions_mut());
    let server = async |request| {
        let written = record_of(&request);
        written.begin_attempt();
        written.fail_attempt(Attempt::new(1, Instant::now(), NEVER_SENT, None));
        written.begin_attempt();
        written.note(NoteKind::Elapsed(Scope::Total));
        Err::<_, BoxError>(Elapsed::new(SECOND, Scope::Total).into())
    };
    call(&layer, request, server).await.unwrap_err();
    let failure = letter(&store).await.failure;
    assert_eq!((failure.attempts, failure.history.len()), (2, 1));
    assert_eq!((record.attempts(), record.notes().len()), (2, 1));
    assert_eq!(record.notes()[0].kind(), NoteKind::Elapsed(Scope::Total));
}

#[tokio::test]
async fn inside_a_retry_the_letters_record_is_its_own() {
    let outside = CallRecord::new();
    outside.begin_attempt();
    for observe in [false, true] {
        let (_, _, layer) = layer();
        let layer = layer.observe_only(observe);
        let mut request = post();
        let within = outside.within_attempt();
        request.extensions_mut().insert(within);
        call(&layer, request, async |request| {
            let own = record_of(&request);
            assert!(own != outside && !own.is_followed());
            own.begin_attempt();
            Ok::<_, Infallible>(status(200))
        })
        .await
        .unwrap();
        assert_eq!(outside.attempts(), 1);
    }
}

#[tokio::test]
async fn a_409_that_a_retry_takes_for_an_earlier_attempt_at_work_is_recorded_and_one_alone_is_an_answer()
 {
    let in_progress = Verdict::transient(Effect::InProgress, Fault::Server);
    for (stop, reason) in [
        (StopReason::AttemptsExhausted, Reason::Attempts),
        (StopReason::BudgetExhausted, Reason::Budget),
        (StopReason::Deadline, Reason::Deadline),
    ] {
        let (_, store, layer) = layer();
        let server = async |_| {
            let mut response = status(409);
            let info = info(stop, &[FAILED, in_progress]);
            response.extensions_mut().insert(info);
            Ok::<_, Infallible>(response)
        };
        let mut request = post();
        let key = "8e03".parse().unwrap();
        request.headers_mut().insert("idempotency-key", key);
        let response = call(&layer, request, server).await.unwrap();
        assert_eq!(DeadLettered::of(&response).unwrap().reason(), reason);
        let failure = letter(&store).await.failure;
        assert!(failure.maybe_processed);
        assert_eq!(failure.last_status, Some(StatusCode::CONFLICT));
        assert_eq!(failure.history[1].verdict, in_progress);
    }
    // Without a retry this is the first attempt, and so an answer.
    let (_, store, layer) = layer();
    answered(&layer, 409).await;
    assert!(letters(&store).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_key_another_operation_has_is_kept_and_never_sent() {
    use courteous_dead_letter::{LetterStore, Mark, Redrive, State};

    let (clock, store, layer) = layer();
    let server = async |_| Err(Rejected::new(RejectReason::KeyReused));
    let error = call(&layer, post(), server).await.unwrap_err();
    let recorded = find_cause::<DeadLettered>(&*error).unwrap();
    assert_eq!(recorded.reason(), Reason::KeyReused);
    let id = recorded.id();
    let record = store.get(id).await.unwrap().unwrap();
    assert_eq!(record.state, State::Expired);
    assert!(!record.letter.failure.maybe_sent);

    // Also if the record is made pending by hand.
    store.mark(id, Mark::Pending).await.unwrap();
    let never = tower::service_fn(async |_: Request<Body>| Ok::<_, Infallible>(status(200)));
    let redrive = Redrive::new().with_clock(clock);
    let summary = redrive.run(&store, never).await.unwrap();
    assert_eq!((summary.expired, summary.delivered), (1, 0));
}
