//! What must not go wrong at the edges: between two attempts, at the deadline, when something panics.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use courteous_core::CallContext;
use courteous_retry::{
    Backoff, Budget, Idempotent, Jitter, NoRetry, RetryInfo, RetryLayer, StopReason,
};
use courteous_testkit::{Probe, Reply, Task, TestBody};
use http::{HeaderName, Method, Response, StatusCode};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};

use crate::support::{closed_until, keyed, request, retried, send, steady};

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
        (3.0, 0)
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
    assert_eq!(layer.budget().balance(), 2.0);
    drop(call);
    assert_eq!((layer.budget().balance(), probe.calls()), (3.0, 1));
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
        (3.0, 0)
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
async fn an_empty_key_is_no_key() {
    let probe = Probe::new().replies([Reply::status(500)]);
    let mut request = request(Method::POST);
    request
        .headers_mut()
        .insert("idempotency-key", "".parse().unwrap());
    let response = send(&steady().layer(probe.clone()), request).await.unwrap();
    assert_eq!(
        RetryInfo::of(&response).stop_reason(),
        StopReason::NotIdempotent
    );
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_behind_another_retry_does_not_prove_that_nothing_was_sent() {
    let start = Instant::now();
    let closed = move || closed_until(start + Duration::from_secs(5));
    let inner = steady().with_max_wait(Duration::from_secs(1));
    let outer = steady();
    // The inner retry sends once, is refused, and gives up.
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
        (1, StopReason::Rejected)
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
    assert_eq!(layer.budget().balance(), 3.0);
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
async fn a_start_above_the_caps_lower_bound_is_not_lost_with_the_first_success() {
    let budget = Budget::builder().start(8).build().unwrap();
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
    assert_eq!(budget.balance(), 8.0);
}
