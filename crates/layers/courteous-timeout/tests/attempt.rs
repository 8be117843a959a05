//! What an attempt timeout promises.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{future::pending, time::Duration};

use common::{Bytes, Drip, Late, MS, SECOND, elapsed, request};
use courteous_core::{BoxError, CallContext, Elapsed, Scope};
use courteous_timeout::{AttemptTimeoutLayer, Coverage, DeadlineFormat, PerAttemptTimeout};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};

type Answer = Result<Response<Full<Bytes>>, BoxError>;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const TIME_LEFT: HeaderName = HeaderName::from_static("x-time-left");

fn hangs(_: Request<Full<Bytes>>) -> std::future::Pending<Answer> {
    pending()
}

/// A request of a call that has `left` to live.
fn request_with(left: Duration) -> Request<Full<Bytes>> {
    let mut request = request();
    CallContext::edit(request.extensions_mut()).tighten(Instant::now() + left);
    request
}

/// Answers with the header fields of the request.
async fn echo(request: Request<Full<Bytes>>) -> Answer {
    let mut response = Response::new(Full::default());
    *response.headers_mut() = request.headers().clone();
    Ok(response)
}

/// What the server sees if `layer` sends `request`.
async fn sent(layer: &AttemptTimeoutLayer, request: Request<Full<Bytes>>) -> HeaderMap {
    let response = layer.layer(service_fn(echo)).oneshot(request).await;
    response.unwrap().into_parts().0.headers
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_the_whole_timeout_or_what_is_left_of_the_call() {
    let mut service = AttemptTimeoutLayer::new(2 * SECOND).layer(service_fn(hangs));
    let start = Instant::now();
    let deadline = start + 5 * SECOND;
    for (limit, scope) in [
        (2 * SECOND, Scope::Attempt),
        (2 * SECOND, Scope::Attempt),
        (SECOND, Scope::Total),
    ] {
        let request = request_with(deadline - Instant::now());
        let error = service.ready().await.unwrap().call(request).await;
        assert_eq!(elapsed(&error.unwrap_err()), (limit, scope));
    }
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn if_the_attempt_and_the_call_end_together_the_call_has_ended() {
    let service = AttemptTimeoutLayer::new(SECOND).layer(service_fn(hangs));
    let error = service.oneshot(request_with(SECOND)).await.unwrap_err();
    assert_eq!(elapsed(&error), (SECOND, Scope::Total));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_here_at_the_deadline_is_still_a_response() {
    let service = AttemptTimeoutLayer::new(SECOND).layer(service_fn(async |r: Request<_>| {
        sleep(SECOND).await;
        echo(r).await
    }));
    service.oneshot(request()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_readiness_is_not_billed_to_the_server() {
    let start = Instant::now();
    let service = AttemptTimeoutLayer::new(SECOND).layer(Late::new(60 * SECOND));
    service.oneshot(request()).await.unwrap();
    assert_eq!(start.elapsed(), 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_very_instance_that_was_ready_is_called() {
    // `Late` panics if it was not, and its clones never are; an inner service need not be `Clone`
    // either.
    struct NotClone(Late);
    impl<R> Service<R> for NotClone {
        type Response = <Late as Service<R>>::Response;
        type Error = <Late as Service<R>>::Error;
        type Future = <Late as Service<R>>::Future;
        fn poll_ready(
            &mut self,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Self::Error>> {
            Service::<R>::poll_ready(&mut self.0, cx)
        }
        fn call(&mut self, request: R) -> Self::Future {
            self.0.call(request)
        }
    }
    let server = Late::new(MS);
    let mut service = AttemptTimeoutLayer::new(SECOND).layer(NotClone(server.clone()));
    for _ in 0..3 {
        let service = ServiceExt::<Request<Full<Bytes>>>::ready(&mut service).await;
        service.unwrap().call(request()).await.unwrap();
    }
    assert_eq!(server.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_requests_own_timeout_replaces_the_layers() {
    let layer = AttemptTimeoutLayer::new(SECOND).with_grpc_timeout();
    for (own, left, expected, on_the_wire) in [
        (3, 9, (3 * SECOND, Scope::Attempt), "3000000u"),
        (3, 2, (2 * SECOND, Scope::Total), "2000000u"),
    ] {
        let request = || {
            let mut request = request_with(left * SECOND);
            let own = PerAttemptTimeout(own * SECOND);
            request.extensions_mut().insert(own);
            request
        };
        assert_eq!(sent(&layer, request()).await[GRPC_TIMEOUT], on_the_wire);
        let error = layer.layer(service_fn(hangs)).oneshot(request()).await;
        assert_eq!(elapsed(&error.unwrap_err()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn with_no_time_left_nothing_is_sent() {
    let server = Late::new(Duration::ZERO);
    for (timeout, left, scope) in [
        (Duration::ZERO, None, Scope::Attempt),
        (Duration::ZERO, Some(SECOND), Scope::Attempt),
        (SECOND, Some(Duration::ZERO), Scope::Total),
    ] {
        let start = Instant::now();
        let mut service = AttemptTimeoutLayer::new(timeout).layer(server.clone());
        let request = left.map_or_else(request, request_with);
        let service = ServiceExt::<Request<Full<Bytes>>>::ready(&mut service).await;
        let mut call = task::spawn(service.unwrap().call(request));
        let error = assert_ready!(call.poll()).unwrap_err();
        assert_eq!(elapsed(&error), (Duration::ZERO, scope));
        assert_pending!(call.poll()); // not a panic
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_longest_timeout_is_none_but_the_calls_own() {
    let layer = AttemptTimeoutLayer::new(Duration::MAX).with_grpc_timeout();
    let service = layer.layer(service_fn(hangs));
    let error = service.oneshot(request_with(SECOND)).await.unwrap_err();
    assert_eq!(elapsed(&error), (SECOND, Scope::Total));

    let headers = sent(&layer, request()).await;
    assert!(headers.is_empty(), "no deadline, so nothing to tell");
}

#[tokio::test(start_paused = true)]
async fn to_the_headers_by_default_and_to_the_end_of_the_body_by_choice() {
    let layer = AttemptTimeoutLayer::new(2500 * MS);
    let server =
        service_fn(async |_: Request<_>| Ok::<_, BoxError>(Response::new(Drip::each_second(4))));
    let response = layer.layer(server).oneshot(request()).await.unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), "....");

    let layer = layer.with_coverage(Coverage::Body);
    for (left, expected) in [
        (9 * SECOND, (2500 * MS, Scope::Attempt)),
        (1500 * MS, (1500 * MS, Scope::Total)),
    ] {
        let start = Instant::now();
        let request = request_with(left);
        let response = layer.layer(server).oneshot(request).await.unwrap();
        let error = response.collect().await.unwrap_err();
        assert_eq!(elapsed(&error), expected);
        assert_eq!(start.elapsed(), expected.0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_left_is_told_afresh_for_each_attempt() {
    let layer = AttemptTimeoutLayer::new(2 * SECOND).with_grpc_timeout();
    let deadline = Instant::now() + 3 * SECOND;
    for expected in ["2000000u", "2000000u", "1000000u"] {
        let request = request_with(deadline - Instant::now());
        assert_eq!(sent(&layer, request).await[GRPC_TIMEOUT], expected);
        sleep(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_the_caller_states_is_only_ever_shortened() {
    let layer = AttemptTimeoutLayer::new(2 * SECOND).with_grpc_timeout();
    for (stated, expected) in [("1S", "1S"), ("3S", "2000000u"), ("soon", "2000000u")] {
        let mut request = request();
        let stated = HeaderValue::from_static(stated);
        request.headers_mut().insert(GRPC_TIMEOUT, stated);
        assert_eq!(sent(&layer, request).await[GRPC_TIMEOUT], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_left_is_told_in_the_callers_own_field_too() {
    let layer = AttemptTimeoutLayer::new(1500 * MS);
    for (format, expected) in [
        (DeadlineFormat::Grpc, "1500000u"),
        (DeadlineFormat::Millis, "1500"),
        (DeadlineFormat::Seconds, "1.5"),
    ] {
        let layer = layer.clone().with_deadline_header(TIME_LEFT, format);
        let headers = sent(&layer, request()).await;
        assert_eq!(headers[TIME_LEFT], expected);
        assert_eq!(headers.len(), 1);
    }
    assert!(sent(&layer, request()).await.is_empty(), "none by default");
}

#[tokio::test(start_paused = true)]
async fn less_time_than_can_be_stated_is_not_sent() {
    let server = Late::default();
    let layer = AttemptTimeoutLayer::new(Duration::from_micros(999));
    let layer = layer.with_deadline_header(TIME_LEFT, DeadlineFormat::Millis);
    let error = layer.layer(server.clone()).oneshot(request()).await;
    let limit = Duration::from_micros(999);
    assert_eq!(elapsed(&error.unwrap_err()), (limit, Scope::Attempt));
    assert_eq!(server.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_calls_deadline_is_left_as_it_is() {
    let service = AttemptTimeoutLayer::new(SECOND).layer(service_fn(async |r: Request<_>| {
        assert_eq!(r.extensions().len(), 0);
        echo(r).await
    }));
    service.oneshot(request()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_inner_service_come_through_as_they_are() {
    let (broken, mut handle) =
        tower_test::mock::pair::<Request<Full<Bytes>>, Response<Full<Bytes>>>();
    let mut service = AttemptTimeoutLayer::new(SECOND).layer(broken);
    handle.allow(1);
    let call = service.ready().await.unwrap().call(request());
    let (_, answer) = handle.next_request().await.unwrap();
    answer.send_error("of the call");
    assert_eq!(call.await.unwrap_err().to_string(), "of the call");

    handle.send_error("of readiness");
    let error = service.ready().await.unwrap_err();
    assert_eq!(error.to_string(), "of readiness");
}

/// The timeout that an answer stands for, if the server answers `status` and `fields` to `request`.
async fn echoed(
    layer: &AttemptTimeoutLayer,
    request: Request<Full<Bytes>>,
    status: u16,
    fields: &'static [(&'static str, &'static str)],
) -> Option<(Duration, Scope)> {
    let server = service_fn(async |_| {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        Ok::<_, BoxError>(response.body(Full::<Bytes>::default()).unwrap())
    });
    let response = layer.layer(server).oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), status);
    let elapsed = response.extensions().get::<Elapsed>();
    elapsed.map(|elapsed| (elapsed.limit(), elapsed.scope()))
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_told_deadline_has_passed_stands_for_the_timeout() {
    let layer = AttemptTimeoutLayer::new(SECOND).with_grpc_timeout();
    let too_late = Some((SECOND, Scope::Attempt));
    let long = || request_with(5 * SECOND);
    for (status, fields, expected) in [
        (200, &[("grpc-status", "4")][..], too_late),
        (
            200,
            &[("grpc-status", "1"), ("grpc-message", "Timeout%20expired")],
            too_late,
        ),
        (200, &[("grpc-status", "1")], None),
        (200, &[("grpc-status", "0")], None),
        (200, &[], None),
        (504, &[], too_late),
        (408, &[], too_late),
        (503, &[], None),
    ] {
        let echoed = echoed(&layer, long(), status, fields).await;
        assert_eq!(echoed, expected, "{status}, {fields:?}");
    }
    // The same in a field of the caller's choice, and without a deadline of the call.
    let millis =
        AttemptTimeoutLayer::new(SECOND).with_deadline_header(TIME_LEFT, DeadlineFormat::Millis);
    assert_eq!(echoed(&millis, request(), 504, &[]).await, too_late);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_deadline_that_is_not_the_attempts_own_is_left_alone() {
    const LATE: &[(&str, &str)] = &[("grpc-status", "4")];
    // The server was told nothing.
    let silent = AttemptTimeoutLayer::new(SECOND);
    assert_eq!(
        echoed(&silent, request_with(5 * SECOND), 200, LATE).await,
        None
    );
    // It was told all the time that the call has.
    let layer = silent.with_grpc_timeout();
    assert_eq!(echoed(&layer, request_with(SECOND), 200, LATE).await, None);
    // It was told the caller's own time.
    let mut stated = request_with(5 * SECOND);
    let value = HeaderValue::from_static("500m");
    stated.headers_mut().insert(GRPC_TIMEOUT, value);
    assert_eq!(echoed(&layer, stated, 200, LATE).await, None);
}
