//! What timeouts tell to a subscriber.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use courteous_testkit::Events;
use courteous_timeout::{AttemptTimeoutLayer, TotalTimeoutLayer};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

fn request() -> Request<Full<Bytes>> {
    let request = Request::patch("https://me:word@api.example/t0ken?key=k3y");
    request.body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_end_names_its_scope_its_limit_and_the_request() {
    let never = service_fn(async |_: Request<Full<Bytes>>| {
        sleep(Duration::from_secs(60)).await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let events = Events::listen();
    let total = TotalTimeoutLayer::new(2 * SECOND).layer(never);
    assert!(total.oneshot(request()).await.is_err());
    let attempt = AttemptTimeoutLayer::new(SECOND).layer(never);
    assert!(attempt.oneshot(request()).await.is_err());
    let zero = TotalTimeoutLayer::new(Duration::ZERO).layer(never);
    assert!(zero.oneshot(request()).await.is_err());
    let observed = TotalTimeoutLayer::new(SECOND)
        .observe_only(true)
        .layer(never);
    assert!(observed.oneshot(request()).await.is_ok());
    let told = |fields: &str| {
        format!("DEBUG courteous::timeout elapsed {fields} method=PATCH origin=https://api.example")
    };
    let expected = [
        told("scope=total limit_ms=2000"),
        told("scope=attempt limit_ms=1000"),
        told("scope=total limit_ms=0"),
        told("observed=true scope=total limit_ms=1000"),
    ];
    assert_eq!(events.take(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_takes_too_long_is_told_with_its_request() {
    let stalled = service_fn(async |_: Request<Full<Bytes>>| {
        let body = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>();
        Ok::<_, Infallible>(Response::new(StreamBody::new(body)))
    });
    let events = Events::listen();
    let service = TotalTimeoutLayer::new(SECOND).layer(stalled);
    let response = service.oneshot(request()).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    let expected = "DEBUG courteous::timeout elapsed scope=total limit_ms=1000 method=PATCH origin=https://api.example";
    assert_eq!(events.take(), [expected]);
}
