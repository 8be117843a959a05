//! The scripted service: what it answers, how its errors are judged, and what it records.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    error::Error,
    io::{self, ErrorKind},
    time::Duration,
};

use bytes::Bytes;
use courteous_classify::HttpClassifier;
use courteous_core::{
    BoxError, Classified, Classify, Effect, Fault, NoRuntime, Outcome, Verdict, find_cause,
};
use courteous_testing::{
    Answer, Calls, End, InvalidAnswer, Mismatch, Script, ScriptBody, ScriptService, UnexpectedCall,
};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

const SECOND: Duration = Duration::from_secs(1);

fn get(path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("http://api.example{path}");
    Request::get(uri).body(Empty::new()).unwrap()
}

async fn send(service: &ScriptService, path: &str) -> Result<Response<ScriptBody>, BoxError> {
    service.clone().oneshot(get(path)).await
}

async fn status(service: &ScriptService, path: &str) -> u16 {
    send(service, path).await.unwrap().status().as_u16()
}

fn verdict(error: &BoxError) -> Verdict {
    HttpClassifier::new().classify(Outcome::error(&**error))
}

fn kind(error: &BoxError) -> Option<ErrorKind> {
    find_cause::<io::Error>(&**error).map(io::Error::kind)
}

fn maybe_processed() -> Verdict {
    Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse)
}

#[tokio::test]
async fn answers_come_in_order_and_further_calls_fail_for_good() {
    let service = Script::new([503, 200]).service();
    assert_eq!(status(&service, "/").await, 503);
    assert_eq!(status(&service, "/").await, 200);
    let error = send(&service, "/late?n=1").await.unwrap_err();
    let cause = find_cause::<UnexpectedCall>(&*error).unwrap();
    assert_eq!(
        cause.to_string(),
        "unexpected call #3, GET http://api.example/late?n=1: its script has 2 answers, and all were given"
    );
    assert_eq!((cause.number(), verdict(&error)), (3, Verdict::Permanent));
}

#[tokio::test]
async fn further_calls_get_the_repeated_answer_or_what_a_closure_says() {
    let service = Script::new([503])
        .then_times(2, 500)
        .then_repeat(204)
        .service();
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(status(&service, "/").await);
    }
    assert_eq!(seen, [503, 500, 500, 204, 204, 204]);
    service.assert_done();

    let service = Script::default().then_with(|call| Answer::ok().body(call.body().to_vec()));
    let request = Request::put("/").body(Full::new(&b"echo"[..])).unwrap();
    let response = service.service().oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "echo");
}

#[tokio::test]
async fn a_closure_may_ask_the_service_for_its_calls() {
    let handle = std::sync::Arc::new(std::sync::OnceLock::<ScriptService>::new());
    let asked = handle.clone();
    let script = Script::default().then_with(move |_| {
        let calls = asked.get().map_or(0, |service| service.calls().len());
        Answer::status(if calls == 2 { 200 } else { 503 })
    });
    let service = handle.get_or_init(|| script.service());
    assert_eq!(status(service, "/").await, 503);
    assert_eq!(status(service, "/").await, 200);
}

#[tokio::test]
async fn a_route_has_a_script_of_its_own() {
    let script = Script::always(404)
        .on(Method::POST, "/charges", [503, 201])
        .on(Method::GET, "/items/*", Script::always(200));
    let service = script.service();
    let post = || Request::post("/charges?x=1").body(Empty::<Bytes>::new());
    for expected in [503, 201] {
        let response = service.clone().oneshot(post().unwrap()).await.unwrap();
        assert_eq!(response.status(), expected);
        assert_eq!(status(&service, "/charges").await, 404);
        assert_eq!(status(&service, "/items/7").await, 200);
    }
    assert!(service.clone().oneshot(post().unwrap()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn per_path_the_answer_of_each_call_does_not_depend_on_the_threads() {
    let service = Script::new([503, 200]).per_path().service();
    let calls = (0..64).map(|number| {
        let service = service.clone();
        tokio::spawn(async move {
            let path = format!("/customers/{number}");
            [status(&service, &path).await, status(&service, &path).await]
        })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), [503, 200]);
    }
    service.assert_done();
    let numbers: Vec<_> = service.calls().iter().map(|call| call.number()).collect();
    assert_eq!(numbers, (1..=128).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_status_has_its_fields_and_its_body() {
    let answer = Answer::status(429)
        .retry_after(Duration::from_millis(1500))
        .rate_limit(0, 30 * SECOND)
        .header("x-reason", "busy")
        .header("x-reason", "still busy")
        .body("slow ")
        .body("down");
    let service = Script::new([answer]).service();
    let response = send(&service, "/").await.unwrap();
    let headers = response.headers();
    assert_eq!(headers["retry-after"], "2");
    assert_eq!(headers["ratelimit"], "\"default\";r=0;t=30");
    assert_eq!(headers.get_all("x-reason").iter().count(), 2);
    assert_eq!(response.body().size_hint().exact(), Some(9));
    let outcome = Outcome::response(&response);
    let refused = Verdict::transient(Effect::Refused, Fault::Throttled);
    assert_eq!(HttpClassifier::new().classify(outcome), refused);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "slow down");
}

#[tokio::test]
async fn a_response_of_http_is_an_answer() {
    let response = Response::builder()
        .status(201)
        .header("location", "/1")
        .body("made");
    let service = Script::new([response.unwrap()]).service();
    let response = send(&service, "/").await.unwrap();
    assert_eq!(response.headers()["location"], "/1");
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "made"
    );
}

#[tokio::test]
async fn errors_are_judged_as_those_of_a_client() {
    let never_sent = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
    for (answer, expected_kind, expected_verdict) in [
        (
            Answer::connection_refused(),
            ErrorKind::ConnectionRefused,
            never_sent,
        ),
        (
            Answer::connection_reset(),
            ErrorKind::ConnectionReset,
            maybe_processed(),
        ),
        (
            Answer::connection_closed(),
            ErrorKind::UnexpectedEof,
            maybe_processed(),
        ),
        (
            Answer::lost(),
            ErrorKind::ConnectionReset,
            maybe_processed(),
        ),
    ] {
        let service = Script::new([answer]).service();
        let error = send(&service, "/").await.unwrap_err();
        assert_eq!(kind(&error), Some(expected_kind));
        assert_eq!(verdict(&error), expected_verdict, "{expected_kind}");
        assert_eq!(service.calls()[0].end(), Some(End::Failed));
    }
}

#[tokio::test]
async fn an_error_of_the_tests_own_is_made_for_each_call() {
    let refused_stream = Verdict::transient(Effect::NeverSent, Fault::Server);
    let answer = Answer::error(move || Classified::new(refused_stream, "stream refused"));
    let service = Script::always(answer).service();
    for _ in 0..2 {
        let error = send(&service, "/").await.unwrap_err();
        assert_eq!(verdict(&error), refused_stream);
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_the_script_says_is_processed() {
    let answers = [
        Answer::ok(),
        Answer::status(503),
        Answer::lost(),
        Answer::status(500).processed(),
        Answer::status(202).not_processed(),
        Answer::never(),
        Answer::ok().after(SECOND),
    ];
    let service = Script::new(answers).service();
    for _ in 0..7 {
        let _ = timeout(SECOND / 2, send(&service, "/")).await;
    }
    let calls = service.calls();
    let processed: Vec<_> = calls.iter().map(|call| call.is_processed()).collect();
    // The last one was given up before its answer came.
    assert_eq!(processed, [true, false, true, true, false, false, true]);
    assert_eq!(calls.times_processed(), 4);
}

#[tokio::test]
async fn calls_with_one_key_count_as_processed_once() {
    let service = Script::always(Answer::lost()).service();
    for key in [Some("a"), Some("a"), Some("b"), None, None] {
        let mut request = get("/");
        if let Some(key) = key {
            request
                .headers_mut()
                .insert("idempotency-key", key.parse().unwrap());
        }
        let _ = service.clone().oneshot(request).await;
    }
    let calls = service.calls();
    assert_eq!(calls.keys(), [Some("a"), Some("a"), Some("b"), None, None]);
    assert_eq!(calls.times_processed(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_on_tokios_clock() {
    let service = Script::new([Answer::ok().after(3600 * SECOND), Answer::ok()]).service();
    let start = Instant::now();
    assert_eq!(status(&service, "/").await, 200);
    assert_eq!(start.elapsed(), 3600 * SECOND);
    assert_eq!(status(&service, "/").await, 200);
    assert_eq!(service.calls().gaps(), [3600 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_take_its_time_too() {
    let service = Script::new([Answer::lost().after(SECOND)]).service();
    let start = Instant::now();
    assert!(send(&service, "/").await.is_err());
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn silence_and_endless_delays_end_with_the_client() {
    let endless = Answer::ok().after(Duration::MAX);
    let service = Script::new([Answer::never(), endless]).service();
    for number in 0..2 {
        let call = tokio::spawn({
            let service = service.clone();
            async move { timeout(1000 * SECOND, send(&service, "/")).await.is_err() }
        });
        service.wait_for_calls(number + 1).await;
        assert_eq!(service.calls()[number].end(), None);
        assert!(call.await.unwrap());
        assert_eq!(service.calls()[number].end(), Some(End::Dropped));
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_pause_stall_and_are_cut() {
    let answers = [
        Answer::ok().body("one").pause_body(SECOND).body("two"),
        Answer::ok().body("half").stall_body(),
        Answer::ok().body("half").cut_body(),
        Answer::ok().pause_body(Duration::MAX),
    ];
    let service = Script::new(answers).service();

    let start = Instant::now();
    let body = send(&service, "/").await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "onetwo");
    assert_eq!(start.elapsed(), SECOND);

    let mut body = send(&service, "/").await.unwrap().into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "half"
    );
    assert!(timeout(1000 * SECOND, body.frame()).await.is_err());

    let mut body = send(&service, "/").await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), None);
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "half"
    );
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(kind(&error), Some(ErrorKind::UnexpectedEof));
    assert!(body.frame().await.is_none());

    let mut body = send(&service, "/").await.unwrap().into_body();
    assert!(timeout(1000 * SECOND, body.frame()).await.is_err());
}

#[tokio::test]
async fn trailers_come_last() {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), 0.into())]);
    let service = Script::new([Answer::ok().body("a").trailers(trailers)]).service();
    let body = send(&service, "/").await.unwrap().into_body();
    let body = body.collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_recorded_as_it_came() {
    let service = Script::always(200).service();
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), 9.into())]);
    let upload = ScriptBody::new()
        .chunk("first, ")
        .pause(SECOND)
        .chunk("second")
        .trailers(trailers);
    let mut request = Request::post("http://api.example/a?b=c")
        .body(upload)
        .unwrap();
    request
        .headers_mut()
        .insert("idempotency-key", "k-1".parse().unwrap());
    request.extensions_mut().insert(7_u8);
    let start = Instant::now();
    service.clone().oneshot(request).await.unwrap();

    let calls = service.calls();
    let call = &calls[0];
    assert_eq!((call.number(), call.at()), (1, start));
    assert_eq!((call.method(), call.uri().path()), (&Method::POST, "/a"));
    assert_eq!(
        (call.key(), call.header("Idempotency-Key")),
        (Some("k-1"), Some("k-1"))
    );
    assert_eq!(
        (call.body(), &*call.text()),
        (&b"first, second"[..], "first, second")
    );
    assert_eq!(call.trailers().unwrap()["x-sum"], "9");
    assert_eq!(call.extensions().get(), Some(&7_u8));
    assert_eq!((call.attempt(), call.is_complete()), (None, true));
    assert_eq!(call.end(), Some(End::Answered(http::StatusCode::OK)));
}

#[tokio::test]
async fn an_early_answer_leaves_the_body_unread() {
    let service = Script::new([Answer::status(413).before_body()]).service();
    let endless = ScriptBody::new().chunk("first").stall();
    let response = service
        .clone()
        .oneshot(Request::post("/").body(endless).unwrap());
    assert_eq!(response.await.unwrap().status(), 413);
    let call = &service.calls()[0];
    assert_eq!((call.body(), call.is_complete()), (&b""[..], false));
}

#[tokio::test]
async fn the_error_of_a_request_body_is_the_error_of_the_call() {
    let service = Script::always(200).service();
    let body = ScriptBody::new().chunk("half").fail("the disk is gone");
    let error = service
        .clone()
        .oneshot(Request::put("/").body(body).unwrap());
    assert_eq!(error.await.unwrap_err().to_string(), "the disk is gone");
    let calls = service.calls();
    assert_eq!(
        (calls[0].body(), calls[0].is_processed()),
        (&b"half"[..], false)
    );
    assert!(
        calls
            .to_string()
            .ends_with("nothing yet (the request's body failed)")
    );
}

#[tokio::test]
async fn clones_share_the_script_and_the_record_and_scripts_share_nothing() {
    let script = Script::new([503, 200]);
    let (one, other) = (script.clone().service(), script.service());
    assert_eq!(status(&one.clone(), "/").await, 503);
    assert_eq!(status(&one.clone(), "/").await, 200);
    assert_eq!(status(&other, "/").await, 503);
    assert_eq!((one.calls().len(), other.calls().len()), (2, 1));
}

#[tokio::test]
async fn a_setting_that_cannot_be_fails_the_call_and_is_reported() {
    for (answer, text) in [
        (Answer::status(42), "42 is no status code"),
        (
            Answer::ok().header("a b", "c"),
            "\"a b\" is no name of a header field",
        ),
        (
            Answer::ok().header("a", "b\n"),
            "\"b\\n\" is no value of a header field",
        ),
        (
            Answer::never().retry_after(SECOND),
            "`Retry-After` for an answer without a response: no answer",
        ),
        (
            Answer::lost().body("x").header("a", "b"),
            "a body for an answer without a response: connection reset, processed",
        ),
    ] {
        let service = Script::new([answer]).service();
        let error = send(&service, "/").await.unwrap_err();
        assert_eq!(verdict(&error), Verdict::Permanent);
        let cause = find_cause::<InvalidAnswer>(&*error).unwrap();
        assert_eq!(cause.to_string(), format!("invalid answer: {text}"));
        let mismatch = service.verify().unwrap_err().to_string();
        assert!(mismatch.contains("got an invalid answer"), "{mismatch}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mismatch_names_what_is_missing_and_what_was_too_much() {
    let script = Script::new([503, 200])
        .then(Answer::status(429).retry_after(SECOND))
        .on(Method::GET, "/one", [200])
        .on(Method::GET, "/each/*", Script::new([500, 200]).per_path());
    let service = script.service();
    status(&service, "/").await;
    tokio::time::sleep(SECOND).await;
    status(&service, "/one").await;
    send(&service, "/one").await.unwrap_err();
    status(&service, "/each/a").await;
    let mismatch = service.verify().unwrap_err();
    let expected = "\
the calls differ from the script:
- 2 of 3 answers were not given: 200 OK; 429 Too Many Requests (retry-after: 1)
- GET /each/*: for \"/each/a\": 1 of 2 answers was not given: 200 OK
- unexpected call #3, GET http://api.example/one
the calls:
#1 +0ns GET http://api.example/ -> 503 Service Unavailable
#2 +1s GET http://api.example/one -> 200 OK
#3 +1s GET http://api.example/one -> unexpected
#4 +1s GET http://api.example/each/a -> 500 Internal Server Error";
    assert_eq!(mismatch.to_string(), expected);
    assert_eq!(format!("{mismatch:?}"), expected);
    assert_eq!(mismatch.calls().len(), 4);
    assert_eq!(mismatch.calls().to("/one").len(), 2);
    assert!(mismatch.source().is_none());
}

#[tokio::test]
#[should_panic(expected = "- 1 of 1 answers was not given: 200 OK\nthe calls:\nno calls")]
async fn assert_done_panics_with_the_mismatch() {
    Script::new([200]).service().assert_done();
}

#[tokio::test]
#[should_panic(
    expected = "expected 2 calls, and 1 came:\n#1 +0ns GET http://api.example/a -> 200 OK"
)]
async fn assert_calls_panics_with_the_log() {
    let service = Script::always(200).service();
    status(&service, "/a").await;
    service.assert_calls(2);
}

#[test]
fn without_a_runtime_a_delay_is_an_error_and_no_panic() {
    use std::task::{Context, Poll, Waker};
    let answers = [
        Answer::ok(),
        Answer::ok().after(SECOND),
        Answer::ok().pause_body(SECOND),
    ];
    let service = Script::new(answers).service();
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = || std::pin::pin!(service.clone().oneshot(get("/"))).poll(&mut cx);
    assert!(matches!(poll(), Poll::Ready(Ok(_))));
    let Poll::Ready(Err(error)) = poll() else {
        panic!("pending");
    };
    assert!(find_cause::<NoRuntime>(&*error).is_some());
    let Poll::Ready(Ok(response)) = poll() else {
        panic!("pending");
    };
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(Err(error))) = std::pin::pin!(response.into_body()).poll_frame(&mut cx)
    else {
        panic!("no error");
    };
    assert!(find_cause::<NoRuntime>(&*error).is_some());
}

#[tokio::test]
async fn a_spawned_call_compiles() {
    let service = Script::always(200).service();
    let call = tokio::spawn(async move {
        let response = service.oneshot(get("/")).await?;
        response
            .into_body()
            .collect()
            .await
            .map(|body| body.to_bytes())
    });
    assert_eq!(call.await.unwrap().unwrap(), "");
}

#[test]
fn what_a_test_holds_may_go_anywhere() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug>() {}
    check::<Answer>();
    check::<Script>();
    check::<ScriptService>();
    check::<Calls>();
    check::<Mismatch>();
    fn is_send<T: Send>(_: T) {}
    is_send(Script::always(200).service().oneshot(get("/")));
    is_send(ScriptBody::new());
}

#[test]
fn an_answer_tells_itself_in_one_line() {
    for (answer, text) in [
        (Answer::from(204), "204 No Content"),
        (Answer::grpc_status(14), "200 OK (grpc-status: 14)"),
        (Answer::ok().body("x").stall_body(), "200 OK, body stalls"),
        (
            Answer::ok().cut_body().after(SECOND),
            "200 OK, body cut after 1s",
        ),
        (Answer::lost(), "connection reset, processed"),
        (Answer::ok().not_processed(), "200 OK, not processed"),
        (Answer::never(), "no answer"),
        (Answer::connection_refused(), "connection refused"),
        (Answer::error(|| "mine"), "error"),
    ] {
        assert_eq!(answer.to_string(), text);
        assert_eq!(format!("{answer:?}"), format!("Answer({text})"));
    }
    assert!(!Answer::grpc_status(14).is_processed() && Answer::grpc_status(0).is_processed());
    assert!(Answer::grpc_message([]).is_processed());
}
