//! The defaults of the standard stack as its documentation states them, and what its error tells.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{io, time::Duration};

use bytes::Bytes;
#[cfg(feature = "tonic")]
use courteous::timeout::{AttemptTimeoutLayer, DeadlineFormat};
use courteous::{
    BoxError, Courteous, Error, ServiceBuilder, ServiceBuilderExt, Stack,
    core::{Elapsed, RejectReason, Rejected, RequestView, Scope},
    find_cause,
    idempotency::{IdempotencyKeyLayer, Key},
    retry::{NoRetry, RetryInfo, RetryLayer, StopReason},
    stack::Settings,
    throttle::{Bucket, Cost, Keyed, Rate, Settle, ThrottleLayer},
    timeout::CallTimeout,
};
use courteous_testkit::{Probe, Reply, TestBody};
use http::{HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tower::{ServiceExt, service_fn, util::BoxCloneService};

type Client = Courteous<Probe>;

fn request(method: Method, uri: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(uri);
    request.body(Full::from("payload")).unwrap()
}

fn get() -> Request<Full<Bytes>> {
    request(Method::GET, "http://api.test/")
}

fn by_default(probe: &Probe) -> Client {
    Stack::new().build().unwrap().layer(probe.clone())
}

/// The settings of the stack whose keys are in `x-key`, in any order.
fn keyed_by_x_key() -> [Stack; 4] {
    let name = HeaderName::from_static("x-key");
    let mut settings = Settings::default();
    settings.idempotency_key.header = Some(name.clone());
    let key = || IdempotencyKeyLayer::new().with_header(name.clone());
    let plain = || Stack::new().with_idempotency_key(IdempotencyKeyLayer::new());
    [
        Stack::new().with_idempotency_key(key()),
        Stack::new()
            .with_retry(RetryLayer::new())
            .with_idempotency_key(key()),
        plain()
            .with_settings(&settings)
            .unwrap()
            .with_retry(RetryLayer::new()),
        plain()
            .with_retry(RetryLayer::new())
            .with_settings(&settings)
            .unwrap(),
    ]
}

#[tokio::test(start_paused = true)]
async fn the_retry_reads_the_key_in_the_field_that_the_stack_writes() {
    for stack in keyed_by_x_key() {
        let probe = Probe::new().otherwise(|_| Reply::status(503));
        let client = stack.build().unwrap().layer(probe.clone());
        let post = request(Method::POST, "http://api.test/");
        client.oneshot(post).await.unwrap();
        assert_eq!(probe.calls(), 3);
        assert!(probe.seen()[0].headers.contains_key("x-key"));
    }
    // Its own word wins.
    let own = RetryLayer::new().with_key_header(HeaderName::from_static("x-other"));
    for stack in keyed_by_x_key() {
        let probe = Probe::new().otherwise(|_| Reply::status(503));
        let client = stack
            .with_retry(own.clone())
            .build()
            .unwrap()
            .layer(probe.clone());
        let post = request(Method::POST, "http://api.test/");
        client.oneshot(post).await.unwrap();
        assert_eq!(probe.calls(), 1);
    }
}

#[cfg(feature = "dead-letter")]
#[tokio::test(start_paused = true)]
async fn a_dead_letter_has_the_key_of_the_field_that_the_stack_writes() {
    use courteous::dead_letter::{DeadLetterLayer, DeadLettered, LetterStore, MemoryStore};

    for stack in keyed_by_x_key() {
        let store = MemoryStore::new();
        let stack = stack.with_dead_letter(DeadLetterLayer::new(store.clone()));
        let client = stack
            .build()
            .unwrap()
            .layer(Probe::new().otherwise(|_| Reply::status(503)));
        let post = request(Method::POST, "http://api.test/");
        let response = client.oneshot(post).await.unwrap();
        let id = response.extensions().get::<DeadLettered>().unwrap().id();
        let letter = store.get(id).await.unwrap().unwrap().letter;
        assert_eq!(letter.key_header, Some(HeaderName::from_static("x-key")));
    }
}

#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn a_grpc_stack_states_the_deadline_in_the_field_that_its_attempt_timeout_brings() {
    let grpc = || Stack::grpc();
    let plain = AttemptTimeoutLayer::new(Duration::from_secs(2));
    let name = HeaderName::from_static("x-left");
    let own = plain
        .clone()
        .with_deadline_header(name, DeadlineFormat::Millis);
    for (stack, stated, unstated) in [
        (grpc(), "grpc-timeout", "x-left"),
        (grpc().with_attempt_timeout(plain), "grpc-timeout", "x-left"),
        (grpc().with_attempt_timeout(own), "x-left", "grpc-timeout"),
    ] {
        let probe = Probe::new();
        let client = stack.build().unwrap().layer(probe.clone());
        client
            .oneshot(request(Method::POST, "http://api.test/a.B/C"))
            .await
            .unwrap();
        let headers = &probe.seen()[0].headers;
        assert!(headers.contains_key(stated) && !headers.contains_key(unstated));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_has_10_seconds_and_there_are_3() {
    let probe = Probe::new().otherwise(|_| Reply::never());
    let error = by_default(&probe)
        .oneshot(get())
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.is_timeout() && !error.is_rejected());
    // The third has less, as the backoffs are within the 30 s of the call.
    assert_eq!((probe.calls(), error.attempts()), (3, Some(3)));
    let instants = probe.instants();
    for (pair, backoff) in instants.windows(2).zip([100, 200]) {
        let ten = Duration::from_secs(10);
        let later = pair[1].duration_since(pair[0]);
        assert!(later >= ten && later <= ten + Duration::from_millis(backoff + 1));
    }

    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let response = by_default(&probe).oneshot(get()).await.unwrap();
    assert_eq!(
        (response.status(), probe.calls()),
        (StatusCode::SERVICE_UNAVAILABLE, 3)
    );
    assert_eq!(
        RetryInfo::of(&response).stop_reason(),
        StopReason::AttemptsExhausted
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_of_the_callers_own_type_is_sent_again_by_any_body() {
    let probe = Probe::new().replies([Reply::status(503)]).reading_bodies();
    let client = ServiceBuilder::new()
        .any_body()
        .layer(Stack::new().build().unwrap())
        .service(probe.clone());
    // Can be read only once, and is no `Replay`.
    let body = TestBody::new().chunk("hel").chunk("lo");
    let request = Request::put("http://api.test/").body(body).unwrap();
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 2);
    let sent = probe.seen();
    assert_eq!(
        (&*sent[0].body.data, &*sent[1].body.data),
        (&b"hello"[..], &b"hello"[..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_has_30_seconds_to_the_end_of_the_body() {
    let drip = TestBody::new().chunk("some").stall();
    let probe = Probe::new().replies([Reply::ok().after(Duration::from_secs(9)).body(drip)]);
    let start = Instant::now();
    let response = by_default(&probe).oneshot(get()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(9));
    let error = response.into_body().collect().await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(30));
    assert!(error.is_timeout());
    assert_eq!(error.to_string(), "call timed out");
    assert_eq!(
        error.find::<Elapsed>().unwrap().limit(),
        Duration::from_secs(30)
    );
    assert!(find_cause::<Elapsed>(&error).is_some(), "also from outside");
}

#[tokio::test(start_paused = true)]
async fn in_flight_are_128_per_origin() {
    let probe = Probe::new().otherwise(|_| Reply::never());
    let client = by_default(&probe);
    for origin in ["http://a.test/", "http://b.test/"] {
        for _ in 0..200 {
            tokio::spawn(client.clone().oneshot(request(Method::GET, origin)));
        }
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!((probe.calls(), probe.in_flight()), (256, 256));
}

#[tokio::test(start_paused = true)]
async fn keys_are_off_until_they_are_asked_for() {
    let probe = Probe::new().otherwise(|_| Reply::status(500));
    let post = || request(Method::POST, "http://api.test/charges");
    let response = by_default(&probe).oneshot(post()).await.unwrap();
    assert_eq!(
        RetryInfo::of(&response).stop_reason(),
        StopReason::NotIdempotent
    );
    assert!(!probe.seen()[0].headers.contains_key("idempotency-key"));

    let keyed = Stack::new()
        .with_idempotency_key(IdempotencyKeyLayer::new())
        .build()
        .unwrap();
    let probe = Probe::new().otherwise(|_| Reply::status(500));
    assert!(keyed.layer(probe.clone()).oneshot(post()).await.is_ok());
    let keys: Vec<_> = probe
        .seen()
        .iter()
        .map(|seen| seen.headers["idempotency-key"].clone())
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_the_throttle_only_listens() {
    let probe = Probe::new();
    let client = by_default(&probe);
    for _ in 0..10_000 {
        assert!(client.clone().oneshot(get()).await.is_ok());
    }
    assert_eq!(probe.instants().first(), probe.instants().last());

    probe.script([Reply::status(429).header("retry-after", "5")]);
    let start = Instant::now();
    assert!(
        client
            .clone()
            .oneshot(get())
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(5) && waited <= Duration::from_millis(6_001),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejection_tells_when_to_come_back() {
    let probe = Probe::new();
    let throttle =
        ThrottleLayer::per_origin("1/m".parse().unwrap()).with_max_wait(Duration::from_secs(1));
    let client = Stack::new()
        .with_throttle(throttle)
        .build()
        .unwrap()
        .layer(probe.clone());
    assert!(client.clone().oneshot(get()).await.is_ok());
    let start = Instant::now();
    let error = client.oneshot(get()).await.map(drop).unwrap_err();
    assert!(error.is_rejected() && !error.is_timeout());
    assert_eq!(error.not_before(), Some(start + Duration::from_secs(60)));
    assert_eq!((error.attempts(), probe.calls()), (Some(0), 1));
}

#[tokio::test(start_paused = true)]
async fn a_403_that_names_its_pause_is_obeyed_by_the_call_and_by_the_others() {
    let secondary = Reply::status(403).header("retry-after", "5");
    let used_up = Reply::status(403)
        .header("x-ratelimit-remaining", "0")
        .header("x-ratelimit-reset", "5");
    for refusal in [secondary, used_up] {
        let probe = Probe::new().replies([refusal]);
        let client = by_default(&probe);
        let start = Instant::now();
        let first = tokio::spawn(client.clone().oneshot(get()));
        sleep(Duration::from_millis(100)).await;
        let other = client.oneshot(get()).await.unwrap();
        assert_eq!(other.status(), 200);
        assert!(start.elapsed() >= Duration::from_secs(5));
        let first = first.await.unwrap().unwrap();
        assert_eq!(
            (first.status(), RetryInfo::of(&first).attempts()),
            (StatusCode::OK, 2)
        );
        let early = probe.instants().into_iter().skip(1);
        assert!(
            early
                .into_iter()
                .all(|at| at >= start + Duration::from_secs(5))
        );
    }
    let probe = Probe::new().replies([Reply::status(403)]);
    let response = by_default(&probe).oneshot(get()).await.unwrap();
    assert_eq!((response.status().as_u16(), probe.calls()), (403, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_limit_is_within_the_deadline() {
    let probe = Probe::new();
    let throttle = ThrottleLayer::per_origin("1/m".parse().unwrap());
    let client = Stack::new()
        .with_throttle(throttle)
        .build()
        .unwrap()
        .layer(probe.clone());
    assert!(client.clone().oneshot(get()).await.is_ok());
    let start = Instant::now();
    let error = client.oneshot(get()).await.map(drop).unwrap_err();
    assert!(error.is_rejected() && error.is_timeout());
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "rejected at once, as a minute is more than 30 s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_single_request_may_say_otherwise() {
    let probe = Probe::new().otherwise(|_| Reply::never());
    let mut hurried = get();
    hurried
        .extensions_mut()
        .insert(CallTimeout(Duration::from_secs(2)));
    hurried.extensions_mut().insert(NoRetry);
    let start = Instant::now();
    let error = by_default(&probe)
        .oneshot(hurried)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(
        (start.elapsed(), probe.calls()),
        (Duration::from_secs(2), 1)
    );
    assert!(error.is_timeout());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_is_none_of_ours_is_a_timeout() {
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    let never = || std::future::pending::<Result<(), BoxError>>();
    let tokio = tokio::time::timeout(Duration::ZERO, never()).await;
    let tower = tower::timeout::Timeout::new(service_fn(|()| never()), Duration::ZERO);
    let errors: [BoxError; 5] = [
        timed_out().into(),
        // As a connector wraps it.
        io::Error::other(io::Error::other(timed_out())).into(),
        Elapsed::new(Duration::ZERO, Scope::Idle).into(),
        tokio.unwrap_err().into(),
        tower.oneshot(()).await.unwrap_err(),
    ];
    for error in errors {
        let error = Error::new(error);
        assert!(error.is_timeout(), "{error:?}");
        assert_eq!(error.to_string(), "call timed out");
    }
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert!(!Error::new(io::Error::other(reset)).is_timeout());
}

#[test]
fn an_attempt_may_not_take_longer_than_the_call() {
    let second = Duration::from_secs(1);
    assert!(Stack::new().with_total_timeout(10 * second).build().is_ok());
    assert!(
        Stack::new()
            .with_attempt_timeout(31 * second)
            .build()
            .is_err()
    );
    let without_bounds = Stack::new()
        .with_total_timeout(Duration::MAX)
        .with_attempt_timeout(Duration::MAX);
    assert!(without_bounds.build().is_ok());
}

#[test]
fn a_stack_is_built_outside_of_a_runtime_and_gives_its_client_back() {
    fn is_shareable<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    let client = by_default(&Probe::new());
    is_shareable(&client);
    assert_eq!(client.get_ref().calls(), 0);
    assert_eq!(client.into_inner().calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_names_short_pauses_for_ever_gets_hardly_more_than_each_call() {
    for (name, value) in [
        ("retry-after-ms", "1"),
        ("retry-after", "1"),
        ("retry-after", "2"),
    ] {
        let probe = Probe::new().otherwise(move |_| Reply::status(429).header(name, value));
        let client = by_default(&probe);
        for _ in 0..300 {
            let _ = client.clone().oneshot(get()).await;
        }
        let calls = probe.calls();
        assert!(calls <= 300 + 8 + 10, "{name}: {value}: {calls} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stack_within_a_stack_sends_no_call_more_often_than_one_does() {
    for reply in [|| Reply::status(503), || Reply::fail("reset")] {
        let probe = Probe::new().otherwise(move |_| reply());
        // Boxed, as a library hides its client: the compiler needs minutes for the types of a stack in a stack.
        let library = BoxCloneService::new(by_default(&probe));
        let application = Stack::new().build().unwrap().layer(library);
        let (attempts, stop) = match application.oneshot(get()).await {
            Ok(response) => {
                let info = RetryInfo::of(&response);
                (info.attempts(), info.stop_reason())
            }
            Err(error) => (error.attempts().unwrap(), error.stop_reason().unwrap()),
        };
        assert_eq!(attempts as usize, probe.calls());
        assert!(probe.calls() <= 3 && stop != StopReason::Answered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_conditional_write_is_what_the_caller_gets() {
    for (name, value) in [("if-none-match", "*"), ("if-match", "\"1\"")] {
        let conditional = || {
            let mut put = request(Method::PUT, "http://store.test/log/42");
            put.headers_mut().insert(name, value.parse().unwrap());
            put
        };
        let probe = Probe::new()
            .replies([Reply::fail("reset")])
            .otherwise(|_| Reply::status(412));
        let error = by_default(&probe).oneshot(conditional()).await;
        let error = error.map(drop).unwrap_err();
        assert_eq!(error.stop_reason(), Some(StopReason::Precondition));
        let probe = Probe::new()
            .replies([Reply::status(500)])
            .otherwise(|_| Reply::status(412));
        let response = by_default(&probe).oneshot(conditional()).await.unwrap();
        assert_eq!(
            (response.status(), probe.calls()),
            (StatusCode::INTERNAL_SERVER_ERROR, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_key_is_rejected_and_said_so() {
    let probe = Probe::new();
    let stack = Stack::new().with_idempotency_key(IdempotencyKeyLayer::new());
    let client = stack.build().unwrap().layer(probe.clone());
    let mut post = request(Method::POST, "http://api.test/");
    for value in ["one", "two"] {
        let headers = post.headers_mut();
        headers.append("idempotency-key", value.parse().unwrap());
    }
    let error = client.oneshot(post).await.map(drop).unwrap_err();
    assert!(error.is_rejected() && !error.is_timeout());
    assert_eq!(error.to_string(), "call rejected before it was sent");
    assert_eq!(probe.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_key_has_two_limits_and_every_attempt_pays_both() {
    let rate = |text: &str, burst| text.parse::<Rate>().unwrap().with_burst(burst);
    let [requests, tokens] = Bucket::joint([
        rate("60/m", 10.try_into().unwrap()),
        rate("6000/m", 1_000.try_into().unwrap()),
    ]);
    let keyed = Keyed::new(requests, |head| {
        head.headers().get("authorization").cloned()
    });
    let throttle = ThrottleLayer::from(keyed.clone());
    let probe = Probe::new().replies([Reply::status(502), Reply::ok()]);
    let client = Stack::new().with_throttle(throttle).build().unwrap();
    let client = client.layer(probe.clone());
    let call = |cost| {
        let mut request = get();
        let key = http::HeaderValue::from_static("Bearer key");
        request.headers_mut().insert("authorization", key.clone());
        request.extensions_mut().insert(Cost::new(cost).on(&tokens));
        (client.clone().oneshot(request), Some(key))
    };
    let (first, key) = call(300);
    let response = first.await.unwrap();
    assert_eq!(probe.calls(), 2);
    let bucket = keyed.get(&key).unwrap();
    let left = || {
        (
            bucket.available(),
            bucket.limit(&tokens).unwrap().available(),
        )
    };
    // A pause of up to 0.1 s between the attempts brings up to 10 tokens back.
    assert!(
        left().0 == 8 && (400..=410).contains(&left().1),
        "{:?}",
        left()
    );
    Settle::of(&response).unwrap().actual(100);
    assert!((600..=610).contains(&left().1), "{:?}", left());

    // What no bucket could ever pay is told at once, and is no attempt.
    let error = call(1_001).0.await.map(drop).unwrap_err();
    assert!(error.is_rejected() && error.attempts().is_none_or(|attempts| attempts == 0));
    let rejected = find_cause::<Rejected>(&error).unwrap();
    assert_eq!(rejected.reason(), RejectReason::CostAboveBurst);
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    assert!(text.contains("it costs 1001 tokens"), "{text}");
    assert!(!text.contains("0 attempts"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_a_generator_is_that_of_every_attempt() {
    #[derive(Clone)]
    struct Order(u64);

    let key = IdempotencyKeyLayer::new().with_generator(|request: RequestView<'_>| {
        let Order(number) = request.extensions().get()?;
        Key::new(&format!("order-{number}")).ok()
    });
    let probe = Probe::new().replies([Reply::status(500)]);
    let stack = Stack::new().with_idempotency_key(key).build().unwrap();
    let client = stack.layer(probe.clone()).boxed();
    let mut order = request(Method::POST, "http://api.test/orders");
    order.extensions_mut().insert(Order(7));
    let response = client.send(order).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let keys = probe.seen();
    let keys = keys.iter().map(|seen| &seen.headers["idempotency-key"]);
    assert!(keys.eq(["order-7"; 2]));
}
