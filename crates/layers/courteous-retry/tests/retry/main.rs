//! What a retry promises, through its public API, on a paused clock.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use courteous_core::{
    CallContext, Classified, Dice, Effect, Elapsed, Fault, Gate, Outcome, Refusal, RejectReason,
    Rejected, Scope, Verdict, find_cause,
};
use courteous_retry::{
    Backoff, Budget, Idempotent, Jitter, MaxAttempts, NoRetry, RetryInfo, RetryLayer, StopReason,
};
use courteous_testkit::{Probe, Reply, Task, TestBody};
use http::{HeaderName, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt};

mod budget;
mod edges;
mod in_progress;
mod nested;
mod observe_only;
mod one_key;
mod preconditions;
mod record;
mod request;
mod support;

use support::*;

#[tokio::test(start_paused = true)]
async fn an_answer_comes_back_untouched() {
    let probe = Probe::new().replies([Reply::status(404).header("x-a", "b")]);
    let layer = steady();
    let response = send(&layer.layer(probe.clone()), request(Method::GET))
        .await
        .unwrap();
    assert_eq!(
        (response.status(), probe.calls()),
        (StatusCode::NOT_FOUND, 1)
    );
    assert!(
        response.extensions().get::<RetryInfo>().is_none(),
        "not worth an allocation"
    );
    let info = RetryInfo::of(&response);
    assert_eq!(
        (info.attempts(), info.stop_reason()),
        (1, StopReason::Answered)
    );
}

#[tokio::test(start_paused = true)]
async fn three_attempts_by_default_with_the_waits_in_between() {
    let probe = Probe::new().replies([Reply::status(503), Reply::error(), Reply::ok()]);
    let start = Instant::now();
    let response = send(&steady().layer(probe.clone()), request(Method::GET))
        .await
        .unwrap();
    let at: Vec<_> = probe
        .instants()
        .iter()
        .map(|at| at.duration_since(start).as_millis())
        .collect();
    assert_eq!(at, [0, 100, 200]);
    let info = RetryInfo::of(&response);
    assert_eq!(
        (info.attempts(), info.waited()),
        (3, Duration::from_millis(200))
    );
    assert_eq!(info.stop_reason(), StopReason::Answered);
}

/// The worked example at the head of `src/call.rs`.
#[tokio::test(start_paused = true)]
async fn waits_count_from_the_judgement_of_a_failure_whatever_its_body_does() {
    let latency = Duration::from_millis(20);
    let probe = Probe::new().replies([
        Reply::status(503)
            .body(TestBody::new().chunk("busy").stall())
            .after(latency),
        Reply::status(429).header("retry-after", "3").after(latency),
        Reply::ok().after(latency),
    ]);
    let exponential =
        |base| Backoff::exponential(Duration::from_millis(base)).with_jitter(Jitter::None);
    let layer = RetryLayer::new()
        .with_backoff(exponential(100))
        .with_throttled_backoff(exponential(1000));
    let start = Instant::now();
    let response = send(&layer.layer(probe.clone()), request(Method::PUT))
        .await
        .unwrap();
    let since = |at: &Instant| at.duration_since(start).as_millis();
    let at: Vec<_> = probe.instants().iter().map(since).collect();
    assert_eq!((at, since(&Instant::now())), (vec![0, 120, 3140], 3160));
    let info = RetryInfo::of(&response);
    assert_eq!(
        (info.attempts(), info.waited().as_millis()),
        (3, 3100),
        "{info:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_response_is_returned_readable_with_the_reason_for_the_stop() {
    let probe = Probe::new().otherwise(|_| Reply::status(503).body("down"));
    let response = send(&steady().layer(probe.clone()), request(Method::GET))
        .await
        .unwrap();
    assert_eq!(
        (response.status(), probe.calls()),
        (StatusCode::SERVICE_UNAVAILABLE, 3)
    );
    assert_eq!(
        RetryInfo::of(&response).stop_reason(),
        StopReason::AttemptsExhausted
    );
    let Ok(body) = response.into_body().collect().await else {
        panic!("the body was read")
    };
    assert_eq!(body.to_bytes(), "down");
}

#[tokio::test(start_paused = true)]
async fn the_last_error_is_the_source_with_what_the_last_response_said() {
    let probe = Probe::new().replies([
        Reply::status(503).header("x-trace", "7"),
        Reply::fail(Elapsed::new(Duration::from_secs(1), Scope::Attempt)),
        Reply::fail("reset"),
    ]);
    let error = send(&steady().layer(probe), request(Method::GET))
        .await
        .map(drop)
        .unwrap_err();
    let retried = retried(&error);
    assert_eq!(retried.info().attempts(), 3);
    assert_eq!(retried.last_status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(retried.last_headers().unwrap()["x-trace"], "7");
    assert_eq!(
        std::error::Error::source(retried).unwrap().to_string(),
        "reset"
    );
    assert_eq!(
        error.to_string(),
        "gave up after 3 attempts: all allowed attempts were made"
    );
}

#[tokio::test(start_paused = true)]
async fn a_post_without_a_key_is_sent_again_after_a_429_unless_that_is_turned_off() {
    let calls = async |layer: RetryLayer, replies: [Reply; 1]| {
        let probe = Probe::new().replies(replies);
        let response = send(&layer.layer(probe.clone()), request(Method::POST)).await;
        (response.unwrap().status().as_u16(), probe.calls())
    };
    assert_eq!(calls(steady(), [Reply::status(429)]).await, (200, 2));
    let careful = || steady().with_retry_throttled(false);
    assert_eq!(calls(careful(), [Reply::status(429)]).await, (429, 1));
    // The other refusals have a switch of their own.
    let busy = || [Reply::status(503).header("retry-after", "1")];
    assert_eq!(calls(steady(), busy()).await, (503, 1));
    let bold = steady().with_retry_refused(true);
    assert_eq!(calls(bold, busy()).await, (200, 2));
}

#[tokio::test(start_paused = true)]
async fn what_came_too_early_is_sent_once_more() {
    for method in [Method::GET, Method::POST] {
        let probe = Probe::new().otherwise(|_| Reply::status(425));
        let response = send(&steady().layer(probe.clone()), request(method))
            .await
            .unwrap();
        let info = RetryInfo::of(&response);
        assert_eq!(
            (info.stop_reason(), info.attempts()),
            (StopReason::Answered, 2)
        );
        assert_eq!((response.status().as_u16(), probe.calls()), (425, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_without_a_key_is_sent_once_on_every_failure_but_a_429_and_one_before_sending() {
    for reply in [
        Reply::status(500),
        Reply::status(503).header("retry-after", "1"),
        Reply::status(403).header("retry-after", "1"),
        Reply::status(503),
        Reply::fail("reset"),
    ] {
        let probe = Probe::new().replies([reply]);
        let service = steady().layer(probe.clone());
        let stop = match send(&service, request(Method::POST)).await {
            Ok(response) => RetryInfo::of(&response).stop_reason(),
            Err(error) => retried(&error).info().stop_reason(),
        };
        assert_eq!((stop, probe.calls()), (StopReason::NotIdempotent, 1));
    }
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let probe = Probe::new().replies([Reply::fail(refused)]);
    assert!(
        send(&steady().layer(probe.clone()), request(Method::POST))
            .await
            .is_ok()
    );
    assert_eq!(probe.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_makes_a_post_retryable() {
    let probe = Probe::new().replies([Reply::status(500)]);
    assert!(send(&steady().layer(probe.clone()), keyed()).await.is_ok());
    assert_eq!(probe.calls(), 2);

    let probe = Probe::new().replies([Reply::status(500)]);
    let layer = steady().with_key_header(HeaderName::from_static("x-key"));
    assert!(send(&layer.layer(probe.clone()), keyed()).await.is_ok());
    assert_eq!(probe.calls(), 1, "another header is no key");
}

#[tokio::test(start_paused = true)]
async fn the_caller_may_say_what_is_idempotent() {
    let calls = async |request: Request<Body>, layer: RetryLayer| {
        let probe = Probe::new().replies([Reply::status(500)]);
        assert!(send(&layer.layer(probe.clone()), request).await.is_ok());
        probe.calls()
    };
    let with = |method, value| {
        let mut request = request(method);
        request.extensions_mut().insert(Idempotent(value));
        request
    };
    assert_eq!(calls(with(Method::POST, true), steady()).await, 2);
    assert_eq!(calls(with(Method::PUT, false), steady()).await, 1);
    let layer = steady().with_idempotent(|r| (r.uri().path() == "/charges").then_some(true));
    assert_eq!(calls(request(Method::POST), layer.clone()).await, 2);
    assert_eq!(
        calls(with(Method::POST, false), layer).await,
        1,
        "the request's own word wins"
    );
}

#[tokio::test(start_paused = true)]
async fn overrides_of_a_single_request_beat_the_layer() {
    let calls = async |set: fn(&mut http::Extensions)| {
        let probe = Probe::new().otherwise(|_| Reply::status(503));
        let mut request = request(Method::GET);
        set(request.extensions_mut());
        let layer = steady().with_budget(Budget::unlimited());
        let response = send(&layer.layer(probe.clone()), request).await.unwrap();
        (probe.calls(), RetryInfo::of(&response).stop_reason())
    };
    let exhausted = StopReason::AttemptsExhausted;
    assert_eq!(calls(|_| ()).await, (3, exhausted));
    assert_eq!(
        calls(|e| {
            e.insert(MaxAttempts::new(5).unwrap());
        })
        .await,
        (5, exhausted)
    );
    assert_eq!(
        calls(|e| {
            e.insert(MaxAttempts::new(1).unwrap());
        })
        .await,
        (1, exhausted)
    );
    assert_eq!(
        calls(|e| {
            e.insert(NoRetry);
        })
        .await,
        (1, StopReason::Disabled)
    );
}

#[tokio::test(start_paused = true)]
async fn each_attempt_starts_from_the_request_as_it_came() {
    let probe = Probe::new()
        .reading_bodies()
        .replies([Reply::status(503), Reply::status(503)]);
    #[derive(Clone, Debug, PartialEq)]
    struct Callers(u8);
    #[derive(Clone)]
    struct Leak;

    let leaky = probe.clone().map_request(|mut request: Request<Body>| {
        assert!(
            request.extensions().get::<Leak>().is_none(),
            "left over from an earlier attempt"
        );
        request.extensions_mut().insert(Leak);
        request.headers_mut().insert("x-leak", "1".parse().unwrap());
        request
    });
    let mut request = keyed();
    *request.version_mut() = Version::HTTP_2;
    request.extensions_mut().insert(Callers(3));
    let layer = steady();
    let response = layer.layer(leaky).oneshot(request).await.unwrap();
    assert!(response.status().is_success());

    let seen = probe.seen();
    assert_eq!(seen.len(), 3);
    for (attempt, seen) in (1..).zip(&seen) {
        assert_eq!(
            (&seen.method, seen.version),
            (&Method::POST, Version::HTTP_2)
        );
        assert_eq!(seen.headers["idempotency-key"], "k1");
        assert_eq!(seen.headers.get_all("x-leak").iter().count(), 1);
        assert_eq!(seen.extensions.get::<Callers>(), Some(&Callers(3)));
        assert_eq!(seen.context.attempt().unwrap().get(), attempt);
        assert_eq!(
            (seen.body.data.as_slice(), seen.body.ended),
            (&b"payload"[..], true)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_has_an_id_on_all_attempts_where_a_key_may_be_derived_from_it() {
    let ids = async |request| {
        let unsent = || {
            let verdict = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
            Reply::fail(Classified::new(verdict, "refused"))
        };
        let probe = Probe::new().replies([unsent(), unsent()]);
        let layer = steady().with_budget(Budget::unlimited());
        assert!(send(&layer.layer(probe.clone()), request).await.is_ok());
        let seen = probe.seen();
        assert_eq!(seen.len(), 3);
        seen.iter()
            .map(|seen| seen.context.call_id())
            .collect::<Vec<_>>()
    };
    let post = ids(request(Method::POST)).await;
    assert!(post[0].is_some());
    assert_eq!(post, [post[0]; 3]);
    assert_ne!(post, ids(request(Method::POST)).await);
    // The key is there, or none is needed.
    assert_eq!(ids(keyed()).await, [None; 3]);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_eq!(ids(request(method)).await, [None; 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_with_trailers_is_sent_again_byte_by_byte() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-checksum", "abc".parse().unwrap());
    let streaming = TestBody::new()
        .chunk("one")
        .pause(Duration::from_millis(10))
        .chunk("two")
        .trailers(trailers.clone());
    let probe = Probe::new()
        .reading_bodies()
        .replies([Reply::status(503), Reply::error()]);
    let request = Request::put("http://api.test/")
        .body(streaming.boxed_unsync())
        .unwrap();
    assert!(
        send(&steady().layer(probe.clone()), request)
            .await
            .unwrap()
            .status()
            .is_success()
    );
    for seen in probe.seen() {
        assert_eq!(seen.body.data, b"onetwo");
        assert_eq!(seen.body.trailers.as_ref(), Some(&trailers));
    }
    assert_eq!(probe.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_above_the_limit_is_sent_once_and_the_reason_is_told() {
    let probe = Probe::new().reading_bodies().replies([Reply::status(503)]);
    let request = Request::put("http://api.test/")
        .body(TestBody::new().chunk("four").chunk("more").boxed_unsync());
    let layer = steady().with_body_limit(7);
    let response = send(&layer.layer(probe.clone()), request.unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        RetryInfo::of(&response).stop_reason(),
        StopReason::BodyNotReplayable
    );
    assert_eq!(probe.seen()[0].body.data, b"fourmore");
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_only_be_repeated_unsent_is_not_buffered() {
    // Read, and then a failure that proves that it was not processed: too late for an unkeyed POST.
    let refused = || Reply::fail(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
    let streaming = || TestBody::new().chunk("data").boxed_unsync();
    let probe = Probe::new().reading_bodies().replies([refused()]);
    let post = Request::post("http://api.test/").body(streaming()).unwrap();
    let careful = || steady().with_retry_throttled(false);
    let error = send(&careful().layer(probe.clone()), post)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(
        retried(&error).info().stop_reason(),
        StopReason::BodyNotReplayable
    );

    // But for gRPC, whose clients read the body before they learn that the stream was refused.
    let probe = Probe::new().reading_bodies().replies([refused()]);
    let mut post = Request::post("http://api.test/").body(streaming()).unwrap();
    let grpc = "application/grpc".parse().unwrap();
    post.headers_mut().insert("content-type", grpc);
    assert!(send(&careful().layer(probe.clone()), post).await.is_ok());
    assert_eq!(probe.calls(), 2);

    // Not read: it can be given again whatever its size.
    let probe = Probe::new().replies([refused()]);
    let post = Request::post("http://api.test/").body(streaming()).unwrap();
    assert!(send(&careful().layer(probe.clone()), post).await.is_ok());
    assert_eq!(probe.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_failed_response_is_drained_within_bounds_and_let_go_before_the_wait() {
    let ms = Duration::from_millis;
    let full = || vec![0; 64 * 1024];
    for (body, read) in [
        (TestBody::new().chunk("small").chunk("end"), 8),
        (TestBody::new().chunk(full()), 64 * 1024),
        (
            TestBody::new()
                .pause(ms(1))
                .chunk(full())
                .chunk("x")
                .chunk("end"),
            0,
        ),
        (TestBody::new().chunk("slow").pause(ms(49)).chunk("end"), 7),
        (
            TestBody::new().chunk("too slow").pause(ms(51)).chunk("end"),
            8,
        ),
        (TestBody::new().stall(), 0),
    ] {
        let probe = Probe::new().replies([Reply::status(503).body(body)]);
        let service = steady().layer(probe.clone());
        let call = tokio::spawn(send(&service, request(Method::GET)));
        sleep(Duration::from_millis(60)).await;
        assert_eq!(probe.calls(), 1, "in the backoff");
        assert_eq!(probe.bodies().alive(), 0);
        assert_eq!(probe.bodies().bytes(), read);
        assert_eq!(probe.ready_held(), 0);
        sleep(Duration::from_millis(41)).await;
        assert_eq!(probe.calls(), 2, "the time for it is a part of the backoff");
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn waits_are_within_the_deadline_or_not_begun() {
    let probe = Probe::new().replies([Reply::status(503)]);
    let service = steady().layer(probe.clone());
    let mut request = request(Method::GET);
    let start = Instant::now();
    CallContext::edit(request.extensions_mut()).tighten(start + Duration::from_millis(100));
    let response = send(&service, request).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "no sleep that cannot help");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(RetryInfo::of(&response).stop_reason(), StopReason::Deadline);
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_a_floor_and_too_much_of_it_is_an_end() {
    let probe = Probe::new().replies([Reply::status(429).header("retry-after", "5")]);
    let start = Instant::now();
    assert!(
        send(&RetryLayer::new().layer(probe.clone()), keyed())
            .await
            .is_ok()
    );
    let second = probe.instants()[1].duration_since(start);
    assert!(
        second >= Duration::from_secs(5) && second <= Duration::from_secs(6),
        "{second:?}"
    );

    let probe = Probe::new().replies([Reply::status(429).header("retry-after", "3600")]);
    let start = Instant::now();
    let response = send(&RetryLayer::new().layer(probe.clone()), keyed())
        .await
        .unwrap();
    assert_eq!((start.elapsed(), probe.calls()), (Duration::ZERO, 1));
    let info = RetryInfo::of(&response);
    assert_eq!(info.stop_reason(), StopReason::WaitTooLong);
    assert!(info.not_before().unwrap() >= start + Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn the_waits_of_a_call_are_bounded_in_sum() {
    let probe = Probe::new().otherwise(|_| Reply::status(503).header("retry-after", "25"));
    let layer = steady()
        .with_max_attempts(9)
        .unwrap()
        .with_budget(Budget::unlimited());
    let response = send(&layer.layer(probe.clone()), request(Method::GET))
        .await
        .unwrap();
    assert_eq!(RetryInfo::of(&response).waited(), Duration::from_secs(50));
    assert_eq!(
        (RetryInfo::of(&response).stop_reason(), probe.calls()),
        (StopReason::WaitTooLong, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_gate_on_the_response_is_waited_for_instead_of_the_backoff() {
    let start = Instant::now();
    let mut closed = Response::new(TestBody::new());
    *closed.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    closed
        .headers_mut()
        .insert("retry-after", "5".parse().unwrap());
    closed
        .extensions_mut()
        .insert(Gate::new(start + Duration::from_millis(5_250)));
    let probe = Probe::new().replies([Reply::response(closed)]);
    let nothing = Budget::builder().start(0).deposit(0.0).build().unwrap();
    let layer = RetryLayer::new().with_budget(nothing);
    assert!(send(&layer.layer(probe.clone()), keyed()).await.is_ok());
    assert_eq!(probe.instants()[1], start + Duration::from_millis(5_250));
    assert_eq!(
        layer.budget().retries(),
        1,
        "a wait at a gate costs nothing"
    );
}

/// The field says an hour, which no attempt waits for: it is not read.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_was_read_before_is_not_read_again() {
    let pause = Duration::from_secs(7);
    let busy = || {
        let mut busy = Response::new(TestBody::new());
        *busy.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let hour = "3600".parse().unwrap();
        busy.headers_mut().insert("retry-after", hour);
        busy
    };
    let second_attempt = async |layer: RetryLayer, response| {
        let (probe, start) = (
            Probe::new().replies([Reply::response(response)]),
            Instant::now(),
        );
        send(&layer.layer(probe.clone()), keyed()).await.unwrap();
        probe.instants().get(1).map(|at| at.duration_since(start))
    };
    assert_eq!(second_attempt(steady(), busy()).await, None);
    // By a layer further in.
    let mut told = busy();
    told.extensions_mut().insert(Refusal::new(Some(pause)));
    assert_eq!(second_attempt(steady(), told).await, Some(pause));
    // By the classifier, for the same response.
    let layer = steady().with_classifier(move |outcome: Outcome<'_>| {
        let head = outcome.result().unwrap();
        if head.status() == StatusCode::OK {
            return Verdict::Answered;
        }
        head.refusal(|| Some(Refusal::new(Some(pause))));
        Verdict::transient(Effect::Refused, Fault::Server)
    });
    assert_eq!(second_attempt(layer, busy()).await, Some(pause));
}

#[tokio::test(start_paused = true)]
async fn a_closed_limit_is_waited_for_outside_and_its_rejections_are_no_attempts() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let layer = steady().with_max_attempts(2).unwrap();
    let probe = Probe::new();
    // Rejected twice, tried, rejected, tried.
    probe.script([closed_until(at(2))]);
    let service = layer.layer(probe.clone());
    let mut call = Task::new(send(&service, request(Method::GET)));
    assert!(call.settle().await.is_pending());
    assert_eq!(
        probe.ready_held(),
        0,
        "nothing of the inner layers is held meanwhile"
    );
    sleep(Duration::from_secs(1)).await;
    probe.script([closed_until(at(3)), Reply::status(503), closed_until(at(7))]);
    let response = call.finish().await.unwrap();
    let at: Vec<_> = probe
        .instants()
        .iter()
        .map(|at| at.duration_since(start).as_millis())
        .collect();
    assert_eq!(at, [0, 2000, 3000, 3100, 7000]);
    let info = RetryInfo::of(&response);
    assert_eq!(
        (info.attempts(), info.stop_reason()),
        (2, StopReason::Answered)
    );
    let numbers: Vec<_> = probe
        .seen()
        .iter()
        .map(|seen| seen.context.attempt().unwrap().get())
        .collect();
    assert_eq!(numbers, [1, 1, 1, 2, 2]);
    assert_eq!(layer.budget().retries(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_costs_no_budget_and_tells_what_the_last_response_was() {
    let probe = Probe::new().replies([
        Reply::status(503).header("x-trace", "9"),
        Reply::fail(Rejected::new(RejectReason::QueueFull)),
    ]);
    let layer = steady();
    let error = send(&layer.layer(probe), request(Method::GET))
        .await
        .map(drop)
        .unwrap_err();
    let retried = retried(&error);
    assert_eq!(retried.info().stop_reason(), StopReason::Rejected);
    assert_eq!(retried.info().attempts(), 1);
    assert_eq!(retried.last_status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(
        find_cause::<Rejected>(&*error).unwrap().reason(),
        RejectReason::QueueFull
    );
    assert_eq!(
        (layer.budget().balance(), layer.budget().retries()),
        (8.0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_closed_for_longer_than_the_call_may_wait_is_not_waited_for() {
    let start = Instant::now();
    let probe = Probe::new().replies([closed_until(start + Duration::from_secs(61))]);
    let error = send(&steady().layer(probe), request(Method::GET))
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(
        retried(&error).info().stop_reason(),
        StopReason::WaitTooLong
    );
    assert_eq!(
        retried(&error).info().not_before(),
        Some(start + Duration::from_secs(61))
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_closed_until_the_past_does_not_make_the_call_spin() {
    let past = Instant::now();
    let probe = Probe::new().otherwise(move |_| closed_until(past));
    let layer = steady().with_max_wait(Duration::from_millis(20));
    let error = send(&layer.layer(probe.clone()), request(Method::GET))
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(
        retried(&error).info().stop_reason(),
        StopReason::WaitTooLong
    );
    assert_eq!(probe.calls(), 21);
}

#[tokio::test(start_paused = true)]
async fn without_retries_a_call_has_no_attempt_number_so_that_limits_let_it_wait() {
    let probe = Probe::new();
    let mut request = request(Method::GET);
    request.extensions_mut().insert(NoRetry);
    assert!(send(&steady().layer(probe.clone()), request).await.is_ok());
    assert_eq!(probe.seen()[0].context.attempt(), None);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_shared_by_all_services_of_the_layer_and_ends_the_retries() {
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let layer = steady();
    let other = layer.clone();
    let mut stops = Vec::new();
    for layer in [&layer, &other, &layer, &other, &layer] {
        let response = send(&layer.layer(probe.clone()), request(Method::GET))
            .await
            .unwrap();
        stops.push((
            RetryInfo::of(&response).attempts(),
            RetryInfo::of(&response).stop_reason(),
        ));
    }
    let spent = StopReason::BudgetExhausted;
    let whole = (3, StopReason::AttemptsExhausted);
    assert_eq!(stops, [whole, whole, whole, whole, (1, spent)]);
    assert_eq!(
        (layer.budget().retries(), layer.budget().rejections()),
        (8, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lack_of_response_costs_two_and_a_success_earns_a_fifth() {
    let probe = Probe::new().replies([Reply::ok(), Reply::error()]);
    let layer = steady();
    let service = layer.layer(probe);
    for balance in [3.0, 1.2] {
        assert!(send(&service, request(Method::GET)).await.is_ok());
        assert_eq!(layer.budget().balance(), balance);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_paid_comes_back_only_if_the_retry_is_dropped_in_its_wait() {
    let probe = Probe::new().replies([Reply::status(503)]);
    let layer = steady();
    let service = layer.layer(probe.clone());
    let mut call = Task::new(send(&service, request(Method::GET)));
    assert!(call.settle().await.is_pending());
    assert_eq!(layer.budget().balance(), 7.0, "taken before the wait");
    drop(call);
    assert_eq!(
        (layer.budget().balance(), layer.budget().retries()),
        (8.0, 0)
    );

    probe.script([Reply::status(503)]);
    let mut call = Task::new(send(&service, request(Method::GET)));
    assert!(call.settle().await.is_pending());
    probe.script([Reply::never()]);
    sleep(Duration::from_millis(101)).await;
    assert!(call.settle().await.is_pending());
    drop(call);
    assert_eq!(
        (layer.budget().balance(), layer.budget().retries()),
        (7.0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_sends_nothing_more() {
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let mut call = Task::new(send(&steady().layer(probe.clone()), request(Method::GET)));
    assert!(call.settle().await.is_pending());
    drop(call);
    advance(Duration::from_secs(60)).await;
    assert_eq!(
        (probe.calls(), probe.in_flight(), probe.ready_held()),
        (1, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_hook_sees_each_failure_and_the_wait_that_follows() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let layer = steady().with_on_retry(move |event| {
        let transient = matches!(event.verdict(), Verdict::Transient { .. });
        log.lock()
            .unwrap()
            .push((event.attempt(), event.wait().as_millis(), transient));
    });
    let probe = Probe::new().replies([Reply::status(429), Reply::error()]);
    assert!(send(&layer.layer(probe), keyed()).await.is_ok());
    assert_eq!(*seen.lock().unwrap(), [(1, 1000, true), (2, 100, true)]);
}

#[tokio::test(start_paused = true)]
async fn two_calls_draw_their_jitter_independently() {
    let probe = Probe::new().otherwise(|seen| match seen.context.attempt().map(NonZeroU32::get) {
        Some(1) => Reply::status(503),
        _ => Reply::ok(),
    });
    let layer = RetryLayer::new()
        .with_budget(Budget::unlimited())
        .with_backoff(Backoff::exponential(Duration::from_secs(1)));
    let service = layer.layer(probe.clone());
    let calls: Vec<_> = (0..50)
        .map(|_| tokio::spawn(send(&service, request(Method::GET))))
        .collect();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    let mut second: Vec<_> = probe.instants().split_off(50);
    second.sort();
    second.dedup();
    assert!(
        second.len() > 40,
        "{} different instants of 50",
        second.len()
    );
}

#[tokio::test(start_paused = true)]
async fn seeded_dice_repeat_a_run() {
    let run = async || {
        let probe = Probe::new().otherwise(|_| Reply::status(503));
        let layer = RetryLayer::new().with_dice(Dice::seeded(42));
        assert!(
            send(&layer.layer(probe.clone()), request(Method::GET))
                .await
                .is_ok()
        );
        let instants = probe.instants();
        instants[2].duration_since(instants[0])
    };
    let first = run().await;
    assert!(!first.is_zero());
    assert_eq!(run().await, first);
}

#[tokio::test(start_paused = true)]
async fn servers_may_be_told_the_number_of_the_attempt() {
    let name = HeaderName::from_static("x-attempt");
    let probe = Probe::new().replies([Reply::status(503)]);
    assert!(
        send(
            &steady()
                .with_attempt_header(name.clone())
                .layer(probe.clone()),
            request(Method::GET)
        )
        .await
        .is_ok()
    );
    let numbers: Vec<_> = probe
        .seen()
        .iter()
        .map(|seen| seen.headers[&name].clone())
        .collect();
    assert_eq!(numbers, ["1", "2"]);

    let probe = Probe::new().replies([Reply::status(503)]);
    let mut grpc = keyed();
    grpc.headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    assert!(send(&steady().layer(probe.clone()), grpc).await.is_ok());
    let previous: Vec<_> = probe
        .seen()
        .iter()
        .map(|seen| seen.headers.get("grpc-previous-rpc-attempts").cloned())
        .collect();
    assert_eq!(previous, [None, Some("1".parse().unwrap())]);
}

#[tokio::test(start_paused = true)]
async fn one_pending_call_does_not_disturb_the_service_that_made_it() {
    let probe = Probe::new().replies([Reply::status(503), Reply::ok()]);
    let mut service = steady().layer(probe.clone());
    let mut first = Task::new(ready(&mut service).await.call(request(Method::GET)));
    assert!(first.poll().is_pending());
    let second = ready(&mut service)
        .await
        .call(request(Method::GET))
        .await
        .unwrap();
    assert!(second.status().is_success());
    assert!(first.finish().await.unwrap().status().is_success());
}

#[test]
fn wrong_settings_are_rejected_where_they_are_written() {
    let error = Budget::builder()
        .deposit(1.5)
        .build()
        .map(drop)
        .unwrap_err();
    assert_eq!(error.to_string(), "a deposit of 1.5 is not within 0 and 1");
    assert!(Budget::builder().deposit(f64::NAN).build().is_err());
    assert!(Budget::builder().deposit(-0.1).build().is_err());
    assert!(Budget::builder().cap(5, 4).build().is_err());
    let start_above_the_cap = Budget::builder().start(11).cap(3, 5).build();
    assert_eq!(start_above_the_cap.unwrap().balance(), 11.0);
    assert!(Budget::builder().window(Duration::ZERO).build().is_err());
    let large = Budget::builder()
        .start(u32::MAX)
        .cap(0, u32::MAX)
        .window(Duration::MAX)
        .build();
    assert_eq!(large.unwrap().balance(), f64::from(u32::MAX));
}

#[test]
fn no_attempts_at_all_are_rejected_where_they_are_written() {
    let error = RetryLayer::new().with_max_attempts(0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`max_attempts` must be at least 1, not 0"
    );
    assert_eq!(MaxAttempts::new(0), Err(error));
    assert_eq!(MaxAttempts::new(5).unwrap().get().get(), 5);
}
