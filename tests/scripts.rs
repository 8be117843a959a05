//! Each fault of a courteous-testing script through the stack with its defaults, on a paused clock:
//! what the retry makes of it, and what the record then says.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use courteous::{
    Courteous, Error, Stack,
    idempotency::IdempotencyKeyLayer,
    retry::{Backoff, Jitter, RetryInfo, RetryLayer, StopReason},
    throttle::ThrottleLayer,
};
use courteous_core::{Classified, Dice, Effect, Fault, Verdict};
use courteous_testing::{
    Answer, End, InvalidAnswer, Script, ScriptBody, ScriptService, UnexpectedCall,
};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

const SECOND: Duration = Duration::from_secs(1);

type Client = Courteous<ScriptService>;

fn request(method: Method) -> Request<Full<Bytes>> {
    let request = Request::builder()
        .method(method)
        .uri("http://api.example/charges");
    request.body(Full::from("100")).unwrap()
}

fn client(answers: impl Into<Script>) -> (ScriptService, Client) {
    let server = answers.into().service();
    let client = Stack::new().build().unwrap().layer(server.clone());
    (server, client)
}

fn keyed_client(answers: impl Into<Script>) -> (ScriptService, Client) {
    let server = answers.into().service();
    let key = IdempotencyKeyLayer::new();
    let stack = Stack::new().with_idempotency_key(key.with_hosts(["api.example"]).unwrap());
    (server.clone(), stack.build().unwrap().layer(server))
}

/// Why the call ended: for a response, and for an error.
fn stop_reason<B>(result: &Result<Response<B>, Error>) -> Option<StopReason> {
    match result {
        Ok(response) => Some(RetryInfo::of(response).stop_reason()),
        Err(error) => error.stop_reason(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_tried_again_whatever_the_method() {
    let (server, client) = client([Answer::connection_refused(), Answer::status(201)]);
    let response = client.send(request(Method::POST)).await.unwrap();
    assert_eq!(response.status(), 201);
    server.assert_done();
    let calls = server.calls();
    let attempts = calls
        .iter()
        .map(|call| call.attempt().map_or(0, |number| number.get()));
    assert_eq!(attempts.collect::<Vec<_>>(), [1, 2]);
    assert_eq!((calls[0].body(), calls[1].body()), (&b""[..], &b"100"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_ends_a_post_and_not_a_get() {
    for answer in [
        Answer::connection_reset(),
        Answer::connection_closed(),
        Answer::lost(),
    ] {
        let (server, post) = client([answer.clone()]);
        let result = post.send(request(Method::POST)).await;
        assert_eq!(stop_reason(&result), Some(StopReason::NotIdempotent));
        server.assert_done();

        let (server, get) = client([answer, Answer::ok()]);
        assert_eq!(get.send(request(Method::GET)).await.unwrap().status(), 200);
        server.assert_done();
    }
}

#[tokio::test(start_paused = true)]
async fn under_a_key_a_lost_answer_is_asked_for_again_and_processed_once() {
    let (server, client) = keyed_client([Answer::lost(), Answer::status(201)]);
    let response = client.send(request(Method::POST)).await.unwrap();
    assert_eq!(response.status(), 201);
    let calls = server.calls();
    let keys = calls.keys();
    assert!(keys[0].is_some() && keys[0] == keys[1], "{calls}");
    assert_eq!((calls.len(), calls.times_processed()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_with_the_attempt_timeout_and_is_tried_again() {
    let late = Answer::ok().after(11 * SECOND);
    let (server, client) = client([Answer::never(), late, Answer::ok()]);
    let start = Instant::now();
    assert_eq!(
        client.send(request(Method::GET)).await.unwrap().status(),
        200
    );
    assert!(start.elapsed() > 20 * SECOND && start.elapsed() < 25 * SECOND);
    let calls = server.calls();
    let ends: Vec<_> = calls.iter().map(|call| call.end()).collect();
    let answered = End::Answered(http::StatusCode::OK);
    assert_eq!(
        ends,
        [Some(End::Dropped), Some(End::Dropped), Some(answered)]
    );
    assert!(
        calls.gaps().iter().all(|&gap| gap >= 10 * SECOND),
        "{calls}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_total_timeout_ends_a_body_that_stalls() {
    let (server, client) = client([Answer::ok().body("half").stall_body()]);
    let start = Instant::now();
    let response = client.send(request(Method::GET)).await.unwrap();
    let error = Error::new(response.into_body().collect().await.unwrap_err());
    assert!(error.is_timeout());
    assert_eq!(start.elapsed(), 30 * SECOND);
    server.assert_done();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_or_late_is_not_asked_for_again() {
    let answers = [
        Answer::ok().body("half").cut_body(),
        Answer::ok().body("one").pause_body(SECOND).body("two"),
    ];
    let (server, client) = client(answers);
    let response = client.send(request(Method::GET)).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    let response = client.send(request(Method::GET)).await.unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "onetwo"
    );
    server.assert_done();
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_server_asks_for_is_kept() {
    let busy = Answer::status(429).retry_after(5 * SECOND);
    let (server, client) = client([busy, Answer::status(201)]);
    assert_eq!(
        client.send(request(Method::POST)).await.unwrap().status(),
        201
    );
    let gap = server.calls().gaps()[0];
    assert!(gap >= 5 * SECOND && gap <= 7 * SECOND, "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_used_up_holds_up_the_next_call() {
    let server = Script::new([Answer::ok().rate_limit(0, 4 * SECOND), Answer::ok()]).service();
    let throttle = ThrottleLayer::per_origin("100/s".parse().unwrap());
    let stack = Stack::new().with_throttle(throttle).build().unwrap();
    let client = stack.layer(server.clone());
    for _ in 0..2 {
        assert_eq!(
            client.send(request(Method::GET)).await.unwrap().status(),
            200
        );
    }
    let gap = server.calls().gaps()[0];
    assert!(gap >= 4 * SECOND && gap <= 6 * SECOND, "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_is_the_answer() {
    let (server, client) = client([Answer::status(413).before_body()]);
    let upload = Request::put("http://api.example/").body(ScriptBody::from("much"));
    let response = client
        .send(upload.unwrap().map(courteous::AnyBody::new))
        .await
        .unwrap();
    assert_eq!(response.status(), 413);
    assert!(!server.calls()[0].is_complete());
}

#[tokio::test(start_paused = true)]
async fn an_error_that_brings_its_verdict_is_judged_by_it() {
    let never_sent = Verdict::transient(Effect::NeverSent, Fault::Server);
    let refused = Answer::error(move || Classified::new(never_sent, "stream refused"));
    let (server, client) = client([refused, Answer::status(201)]);
    assert_eq!(
        client.send(request(Method::POST)).await.unwrap().status(),
        201
    );
    server.assert_done();
}

#[tokio::test(start_paused = true)]
async fn no_retry_hides_a_call_that_the_script_does_not_know_or_an_invalid_answer() {
    let (server, unknown) = client([503]);
    let error = unknown.send(request(Method::GET)).await.unwrap_err();
    assert!(error.find::<UnexpectedCall>().is_some());
    assert!(server.calls().len() == 2 && server.verify().is_err());

    let (server, invalid) = client([Answer::status(1), Answer::ok()]);
    let error = invalid.send(request(Method::GET)).await.unwrap_err();
    assert!(error.find::<InvalidAnswer>().is_some());
    server.assert_calls(1);
}

#[tokio::test(start_paused = true)]
async fn seeded_dice_give_the_same_gaps_in_each_run_and_no_jitter_gives_known_ones() {
    let gaps = async |retry: RetryLayer| {
        let server = Script::new([503, 503, 200]).service();
        let stack = Stack::new().with_retry(retry).build().unwrap();
        stack
            .layer(server.clone())
            .send(request(Method::GET))
            .await
            .unwrap();
        server.calls().gaps()
    };
    let seeded = || RetryLayer::new().with_dice(Dice::seeded(7));
    assert_eq!(gaps(seeded()).await, gaps(seeded()).await);

    let backoff = Backoff::constant(SECOND).with_jitter(Jitter::None);
    let plain = RetryLayer::new().with_backoff(backoff);
    assert_eq!(gaps(plain).await, [SECOND, SECOND]);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_status_is_tried_again_and_a_message_is_the_answer() {
    const CHECK: &str = "/grpc.health.v1.Health/Check";
    // A `HealthCheckResponse` with the status SERVING.
    let serving = Answer::grpc_message([8, 1]);
    let server = Script::new([Answer::grpc_status(14), serving]).service();
    let stack = Stack::grpc().with_idempotent_methods([CHECK]).unwrap();
    let mut client = HealthClient::new(stack.build().unwrap().layer(server.clone()));
    let response = client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(response.get_ref().status(), ServingStatus::Serving);
    let calls = server.calls();
    assert_eq!((calls.len(), calls.times_processed()), (2, 1), "{calls}");
    assert_eq!(calls.to(CHECK).len(), 2);
}
