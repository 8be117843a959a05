//! What must not go wrong at the edges: between two at the deadline, when something panics.

use std::{
    future::ready,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use courteous_body::{NotReplayable, Overtaken, Replay};
use courteous_core::{BoxError, CallContext, find_cause};
use courteous_retry::{
    Backoff, Budget, Idempotent, Jitter, NoRetry, RetryInfo, RetryLayer, StopReason,
};
use courteous_testkit::{Probe, Reply, Task, TestBody};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::support::{Body, closed_until, keyed, request, retried, send, steady};

#[tokio::test(start_paused = true)]
async fn a_retry_whose_service_breaks_was_not_sent_and_is_paid_back() {
    let probe = Probe::new().replies([Reply::status(503).header("x-trace", "7")]);
    let layer = steady();
    let mut call = Task::new(send(&layer.layer(probe.clone()), request(Method::GET)));
    assert!(call.settle().await.is_pending());
    probe.break_readiness();
    let error = call.finish().await.map(drop).unwrap_err();
    let retried = retried(&error);
    assert_eq!(retried.info().attempts(), 1);
    assert_eq!(retried.last_headers().unwrap()["x-trace"], "7");
    assert_eq!(
        (layer.budget().balance(), layer.budget().retries()),
        (8.0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_dropped_while_its_service_becomes_ready_is_paid_back() {
    let probe = Probe::new().replies([Reply::status(503)]);
    let layer = steady();
    let mut call = Task::new(send(&layer.layer(probe.clone()), request(Method::GET)));
    assert!(call.settle().await.is_pending());
    probe.withhold_readiness();
    sleep(Duration::from_millis(200)).await;
    assert!(call.settle().await.is_pending());
    assert_eq!(layer.budget().balance(), 7.0);
    drop(call);
    assert_eq!((layer.budget().balance(), probe.calls()), (8.0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_costs_no_budget_and_breaks_no_other_call() {
    let probe = Probe::new().replies([Reply::status(503), Reply::status(503)]);
    let calls = Arc::new(Mutex::new(0));
    let layer = steady().with_on_retry(move |_| {
        let first = std::mem::replace(&mut *calls.lock().unwrap(), 1) == 0;
        assert!(!first, "a bug in the hook");
    });
    let service = layer.layer(probe.clone());
    let panicked = tokio::spawn(send(&service, request(Method::GET))).await;
    assert!(panicked.map(drop).unwrap_err().is_panic());
    assert_eq!(
        (layer.budget().balance(), layer.budget().retries()),
        (8.0, 0)
    );
    assert!(send(&service, request(Method::GET)).await.is_ok());
    assert_eq!(layer.budget().retries(), 1);
}

#[tokio::test(start_paused = true)]
async fn reading_a_discarded_body_takes_no_time_from_the_deadline() {
    let probe = Probe::new().replies([Reply::status(503).body(TestBody::new().stall())]);
    let wait = Backoff::constant(Duration::from_millis(10)).with_jitter(Jitter::None);
    let service = RetryLayer::new().with_backoff(wait).layer(probe.clone());
    let mut request = request(Method::GET);
    let start = Instant::now();
    CallContext::edit(request.extensions_mut()).tighten(start + Duration::from_millis(30));
    assert!(send(&service, request).await.unwrap().status().is_success());
    assert_eq!(probe.instants()[1], start + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn the_callers_word_against_a_second_sending_beats_the_key() {
    let probe = Probe::new().replies([Reply::status(500)]);
    let mut request = keyed();
    request.extensions_mut().insert(Idempotent(false));
    let response = send(&steady().layer(probe.clone()), request).await.unwrap();
    assert_eq!(
        RetryInfo::of(&response).stop_reason(),
        StopReason::NotIdempotent
    );
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_key_on_the_wire_does_not_make_a_post_retryable() {
    let values: [&[&[u8]]; 8] = [
        &[b""],
        &[b" "],
        &[b"\t "],
        &[b"\"\""],
        &[b"a b"],
        &[b"\xff"],
        &[b"k1", b"k1"],
        &[b"", b"k1"],
    ];
    for values in values {
        let probe = Probe::new().replies([Reply::status(500)]);
        let mut request = request(Method::POST);
        for value in values {
            let value = HeaderValue::from_bytes(value).unwrap();
            request.headers_mut().append("idempotency-key", value);
        }
        let response = send(&steady().layer(probe.clone()), request).await.unwrap();
        assert_eq!(
            RetryInfo::of(&response).stop_reason(),
            StopReason::NotIdempotent
        );
        assert_eq!(probe.calls(), 1, "{values:?}");
    }
    for key in [" k1 ", "\"a key\""] {
        let probe = Probe::new().replies([Reply::status(500)]);
        let mut request = request(Method::POST);
        let value = HeaderValue::from_static(key);
        request.headers_mut().insert("idempotency-key", value);
        assert!(
            send(&steady().layer(probe.clone()), request)
                .await
                .unwrap()
                .status()
                .is_success()
        );
        assert_eq!(probe.calls(), 2, "{key:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_behind_another_retry_does_not_prove_that_nothing_was_sent() {
    let start = Instant::now();
    let closed = move || closed_until(start + Duration::from_secs(5));
    let inner = steady().with_max_wait(Duration::from_secs(1));
    let outer = steady();
    // The inner retry sends once, is rejected, and gives up.
    let probe = Probe::new().replies([Reply::status(503), closed()]);
    let stack = outer.layer(inner.layer(probe.clone()));
    let error = stack
        .oneshot(request(Method::GET))
        .await
        .map(drop)
        .unwrap_err();
    let info = retried(&error).info();
    assert_eq!(
        (info.attempts(), info.stop_reason()),
        (1, StopReason::WaitTooLong)
    );
    assert_eq!(info.not_before(), Some(start + Duration::from_secs(5)));
    assert_eq!(probe.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_discarded_response_is_held_but_what_it_said() {
    let held = Arc::new(());
    let mut failed = Response::new(TestBody::new());
    *failed.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    failed.extensions_mut().insert(Arc::clone(&held));
    let probe = Probe::new().replies([Reply::response(failed)]);
    let mut call = Task::new(send(&steady().layer(probe), request(Method::GET)));
    assert!(call.settle().await.is_pending());
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_resolved_owes_the_budget_nothing_even_before_it_is_dropped() {
    let probe = Probe::new().replies([Reply::status(503)]);
    let layer = steady();
    let service = layer.layer(probe.clone());
    let mut call = Box::pin(send(&service, request(Method::GET)));
    let resolved = std::future::poll_fn(|cx| {
        if probe.calls() == 1 {
            probe.break_readiness();
        }
        call.as_mut().poll(cx)
    });
    assert!(resolved.await.is_err());
    assert_eq!(layer.budget().balance(), 8.0);
    drop(call);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_the_attempt_is_told_of_an_only_one_too() {
    let name = HeaderName::from_static("x-attempt");
    let probe = Probe::new();
    let mut request = request(Method::GET);
    request.extensions_mut().insert(NoRetry);
    let layer = steady().with_attempt_header(name.clone());
    assert!(send(&layer.layer(probe.clone()), request).await.is_ok());
    assert_eq!(probe.seen()[0].headers[&name], "1");
}

#[tokio::test(start_paused = true)]
async fn a_start_is_kept_after_the_first_success_as_far_as_the_caps_lower_bound_allows() {
    let budget = Budget::builder().start(8).cap(6, 10).build().unwrap();
    let probe = Probe::new().replies([Reply::status(503)]);
    let layer = steady().with_budget(budget.clone());
    let mut call = Task::new(send(&layer.layer(probe.clone()), request(Method::GET)));
    assert!(call.settle().await.is_pending());
    drop(call);
    assert_eq!(budget.balance(), 8.0, "paid back in full");
    assert!(
        send(&layer.layer(probe), request(Method::GET))
            .await
            .is_ok()
    );
    assert_eq!(budget.balance(), 6.0);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_was_answered_early_fails_when_the_next_attempt_takes_over() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let uploads = Arc::clone(&bodies);
    let early = move |request: Request<Body>| {
        let mut uploads = uploads.lock().unwrap();
        let mut response = Response::new(Full::<Bytes>::default());
        if uploads.is_empty() {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        uploads.push(request.into_body());
        ready(Ok::<_, BoxError>(response))
    };
    let service = steady().layer(service_fn(early));
    let streaming = TestBody::new().chunk("one").chunk("two").boxed_unsync();
    let request = Request::put("http://api.test/").body(streaming).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert!(response.status().is_success());
    let uploads = std::mem::take(&mut *bodies.lock().unwrap());
    let [first, second] = <[Body; 2]>::try_from(uploads).unwrap();
    let error = first.collect().await.map(drop).unwrap_err();
    assert!(find_cause::<Overtaken>(&*error).is_some());
    // The answer came before the end of this one, too: it goes on.
    assert_eq!(second.collect().await.unwrap().to_bytes(), "onetwo");
}

// To a client, both are an error of the user's.
#[tokio::test(start_paused = true)]
async fn a_failed_send_ends_the_call_if_it_was_the_bodys_source_that_failed() {
    for (body, reason, sends) in [
        (
            TestBody::new().chunk("one").chunk("two"),
            StopReason::AttemptsExhausted,
            3,
        ),
        (
            TestBody::new().chunk("one").fail("the disk is gone"),
            StopReason::Permanent,
            1,
        ),
    ] {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let client = service_fn(move |request: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async {
                let _ = request.into_body().collect().await;
                Err::<Response<Full<Bytes>>, _>(BoxError::from("dispatch task is gone"))
            }
        });
        let request = Request::put("http://api.test/").body(body.boxed_unsync());
        let layer = steady().with_budget(Budget::unlimited());
        let error = layer
            .layer(client)
            .oneshot(request.unwrap())
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!(retried(&error).info().stop_reason(), reason);
        assert_eq!(sent.load(Ordering::SeqCst), sends);
    }
}

/// A body that shows for how long it is kept.
struct Spy(Arc<()>);

impl http_body::Body for Spy {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(None)
    }
}

impl Replay for Spy {
    type Kept = Arc<()>;

    fn keep_in_place(&mut self, _: usize) -> Arc<()> {
        Arc::clone(&self.0)
    }

    fn check(_: &Arc<()>) -> Result<(), NotReplayable> {
        Ok(())
    }

    fn again(kept: &Arc<()>) -> Result<Self, NotReplayable> {
        Ok(Self(Arc::clone(kept)))
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_is_released_with_the_answer() {
    let spy = Arc::new(());
    let answer =
        |_: Request<Spy>| ready(Ok::<_, BoxError>(Response::new(Full::<Bytes>::default())));
    let mut service = steady().layer(service_fn(answer));
    let request = Request::put("http://api.test/")
        .body(Spy(Arc::clone(&spy)))
        .unwrap();
    let mut call = Box::pin(service.call(request));
    assert_eq!(
        Arc::strong_count(&spy),
        2,
        "the request was dropped, its body is kept"
    );
    assert!(call.as_mut().await.is_ok());
    assert_eq!(Arc::strong_count(&spy), 1);
    drop(call);
}

#[tokio::test(start_paused = true)]
async fn no_hint_is_too_long_for_the_clock() {
    for seconds in [u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 62, 1 << 33] {
        let hinted = Reply::status(503).header("retry-after", &seconds.to_string());
        let probe = Probe::new().replies([hinted]);
        let layer = RetryLayer::new().with_max_wait(Duration::MAX);
        let mut call = Task::new(send(&layer.layer(probe.clone()), request(Method::GET)));
        if let Poll::Ready(response) = call.settle().await {
            let info = RetryInfo::of(&response.unwrap());
            assert_eq!(info.stop_reason(), StopReason::WaitTooLong);
        }
        sleep(Duration::from_secs(1 << 25)).await;
        assert_eq!(probe.calls(), 1, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_off_leaves_the_wait_for_a_closed_limit_to_one_outside() {
    let opens_at = Instant::now() + Duration::from_secs(2);
    let probe = Probe::new().replies([closed_until(opens_at)]);
    let off = steady().with_max_attempts(1).unwrap();
    let stack = steady().layer(off.layer(probe.clone()));
    let response = stack.oneshot(request(Method::GET)).await.unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 1);
    assert_eq!(probe.instants()[1], opens_at);
}
