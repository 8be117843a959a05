//! What a retry tells to a subscriber.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use courteous_retry::{Backoff, Budget, Jitter, NoRetry, RetryLayer};
use courteous_testkit::{Events, Probe, Reply};
use http::{Method, Request};
use http_body_util::Empty;
use tower::{Layer, ServiceExt};

type Body = Empty<&'static [u8]>;

/// A target with parts that must not be shown.
const URI: &str = "https://me:word@api.example:8443/t0ken?key=k3y";

fn steady() -> RetryLayer {
    let wait = Backoff::constant(Duration::from_millis(100)).with_jitter(Jitter::None);
    RetryLayer::new()
        .with_budget(Budget::unlimited())
        .with_backoff(wait)
        .with_throttled_backoff(wait)
}

fn request(method: Method, uri: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    request.body(Body::new()).unwrap()
}

async fn told(layer: &RetryLayer, request: Request<Body>, replies: Vec<Reply>) -> Vec<String> {
    let events = Events::listen();
    let probe = Probe::new().replies(replies);
    let _ = layer.layer(probe).oneshot(request).await;
    events.take()
}

#[tokio::test(start_paused = true)]
async fn each_retry_and_the_end_name_method_origin_and_status() {
    let replies = vec![Reply::status(503), Reply::error(), Reply::status(429)];
    assert_eq!(
        told(&steady(), request(Method::PUT, URI), replies).await,
        [
            "DEBUG courteous::retry retry attempt=1 wait_ms=100 fault=overload status=503 method=PUT origin=https://api.example:8443",
            "DEBUG courteous::retry retry attempt=2 wait_ms=100 fault=no_response method=PUT origin=https://api.example:8443",
            "DEBUG courteous::retry stopped attempts=3 reason=attempts_exhausted waited_ms=200 fault=throttled status=429 method=PUT origin=https://api.example:8443",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_server_has_no_origin_and_an_answer_is_not_told() {
    let mut once = request(Method::GET, "/path");
    once.extensions_mut().insert(NoRetry);
    assert_eq!(
        told(&steady(), once, vec![Reply::status(502)]).await,
        [
            "DEBUG courteous::retry stopped attempts=1 reason=disabled waited_ms=0 fault=server status=502 method=GET"
        ]
    );
    let answered = request(Method::GET, "/path");
    assert!(
        told(&steady(), answered, vec![Reply::status(404)])
            .await
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_only_observes_tells_what_it_would_have_done() {
    let layer = steady().observe_only(true);
    assert_eq!(
        told(&layer, request(Method::GET, URI), vec![Reply::status(503)]).await,
        [
            "DEBUG courteous::retry retry observed=true attempt=1 wait_ms=100 fault=overload status=503 method=GET origin=https://api.example:8443"
        ]
    );
}
