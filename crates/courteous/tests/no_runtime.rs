//! What becomes of calls that are polled outside of a Tokio runtime, or on one without its time driver.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    convert::Infallible,
    future::{Ready, pending, ready},
    io,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use courteous::{
    BoxError, Error, Stack,
    client::Closer,
    concurrency::ConcurrencyLimitLayer,
    core::NoRuntime,
    find_cause,
    retry::{RetryInfo, RetryLayer},
    timeout::{AttemptTimeoutLayer, Coverage, TotalTimeoutLayer},
};
use courteous_testkit::TestBody;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::{runtime::Builder, time::Instant};
use tower::{Layer, Service, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

type Answer = Response<Full<Bytes>>;

fn put() -> Request<Full<Bytes>> {
    let request = Request::put("http://api.test/notes/1");
    request.body(Full::from("a note")).unwrap()
}

/// Never answers.
fn silent() -> impl Service<
    Request<Full<Bytes>>,
    Response = Answer,
    Error = io::Error,
    Future: Future<Output = Result<Answer, io::Error>>,
> + Clone {
    service_fn(|_| pending())
}

fn answering(
    status: u16,
) -> impl FnMut(Request<Full<Bytes>>) -> Ready<Result<Answer, Infallible>> + Clone {
    move |request| {
        ready(Ok(Response::builder()
            .status(status)
            .body(request.into_body())
            .unwrap()))
    }
}

/// Polls once; `None` if it is pending.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn is_told(error: &(dyn std::error::Error + 'static)) -> bool {
    find_cause::<NoRuntime>(error).is_some()
}

#[test]
fn a_call_that_need_not_wait_needs_no_runtime() {
    let client = Stack::new()
        .build()
        .unwrap()
        .layer(service_fn(answering(200)));
    let response = poll_once(client.oneshot(put())).unwrap().unwrap();
    assert_eq!(response.status(), 200);
    let body = poll_once(response.into_body().collect()).unwrap();
    assert_eq!(body.unwrap().to_bytes(), "a note");
}

#[test]
fn the_first_wait_of_a_stack_is_a_typed_error() {
    let client = Stack::new().build().unwrap().layer(silent());
    let error: Error = poll_once(client.oneshot(put()))
        .unwrap()
        .map(drop)
        .unwrap_err();
    assert!(is_told(&error));
    assert_eq!(
        error.find::<NoRuntime>().unwrap().to_string(),
        "a wait needs a timer, and the call was polled outside of a Tokio runtime"
    );
}

#[test]
fn each_timeout_says_so() {
    let (total, attempt) = (
        TotalTimeoutLayer::new(SECOND),
        AttemptTimeoutLayer::new(SECOND),
    );
    let by_total = poll_once(total.layer(silent()).oneshot(put())).unwrap();
    let by_attempt = poll_once(attempt.layer(silent()).oneshot(put())).unwrap();
    for error in [by_total.map(drop), by_attempt.map(drop)] {
        assert!(is_told(&*error.unwrap_err()));
    }
    // And while a body is waited for.
    let stalling = service_fn(|_: Request<Full<Bytes>>| {
        ready(Ok::<_, Infallible>(Response::new(TestBody::new().stall())))
    });
    let attempt = attempt.with_coverage(Coverage::Body);
    let response = poll_once(attempt.layer(stalling).oneshot(put()))
        .unwrap()
        .unwrap();
    let body = poll_once(response.into_body().collect()).unwrap();
    assert!(is_told(&*body.map(drop).unwrap_err()));
}

#[test]
fn a_backoff_is_a_typed_error_with_the_attempt_before_it() {
    let retry = RetryLayer::new().layer(service_fn(answering(503)));
    let error: BoxError = poll_once(retry.oneshot(put()))
        .unwrap()
        .map(drop)
        .unwrap_err();
    let error = Error::new(error);
    assert!(is_told(&error));
    assert_eq!(
        (error.attempts(), error.last_status().unwrap().as_u16()),
        (Some(1), 503)
    );
    // What makes no further attempt needs no timer.
    let retry = RetryLayer::new().layer(service_fn(answering(404)));
    let response = poll_once(retry.oneshot(put())).unwrap().unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 1);
}

#[test]
fn a_bounded_wait_for_a_permit_does_not_panic() {
    let limit = ConcurrencyLimitLayer::new(1).unwrap().with_max_wait(SECOND);
    let client = limit.layer(silent());
    let mut first = pin!(client.clone().oneshot(put()));
    assert!(poll_once(first.as_mut()).is_none());
    assert!(poll_once(client.oneshot(put())).is_none());
}

#[test]
fn a_close_that_has_to_wait_does_not_panic() {
    let layer = Stack::new().build().unwrap();
    let closer: &Closer = layer.closer();
    let client = layer.layer(service_fn(answering(200)));
    let response = poll_once(client.oneshot(put())).unwrap().unwrap();
    assert!(poll_once(closer.close(Instant::now() + 60 * SECOND)).is_none());
    let told = poll_once(closer.close(Instant::now())).unwrap();
    assert_eq!(told.unwrap_err().in_flight(), 1);
    drop(response);
    poll_once(closer.close(Instant::now())).unwrap().unwrap();
}

/// Tokio does not tell whether a runtime has its time driver: so the documentation says this.
#[test]
#[should_panic(expected = "timers are disabled")]
fn on_a_runtime_without_its_time_driver_the_first_wait_panics() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let client = Stack::new().build().unwrap().layer(silent());
    let _ = runtime.block_on(client.oneshot(put()));
}

/// How code that is not async makes a call.
#[test]
fn a_call_can_be_blocked_on() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = Stack::new()
        .build()
        .unwrap()
        .layer(service_fn(answering(200)));
    let response = runtime.block_on(client.oneshot(put())).unwrap();
    assert_eq!(response.status(), 200);
}
