//! What a key layer tells to a subscriber.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::convert::Infallible;

use courteous_idempotency::{IdempotencyKeyLayer, Key};
use courteous_testkit::Events;
use http::Request;
use tower::{Layer, ServiceExt, service_fn};

#[tokio::test]
async fn a_key_and_a_rejection_name_method_and_origin() {
    let request = |key: Option<&str>| {
        let mut request = Request::post("https://me:word@api.example/t0ken?key=k3y");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.body(()).unwrap()
    };
    let server = service_fn(async |_: Request<()>| Ok::<_, Infallible>(()));
    let layer = IdempotencyKeyLayer::new()
        .with_generator(|_: courteous_core::RequestView<'_>| Ok(Key::new("order-7").ok()));
    let events = Events::listen();
    let told = |fields: &str| {
        format!("DEBUG courteous::idempotency {fields} method=POST origin=https://api.example")
    };
    let observing = layer.clone().observe_only(true).layer(server);
    let service = layer.layer(server);
    assert!(service.clone().oneshot(request(None)).await.is_ok());
    assert_eq!(events.take(), [told("key_added key=order-7")]);
    assert!(service.clone().oneshot(request(Some("mine"))).await.is_ok());
    assert!(events.take().is_empty());
    assert!(service.oneshot(request(Some("two keys"))).await.is_err());
    assert_eq!(events.take(), [told("rejected reason=malformed_key")]);
    assert!(observing.clone().oneshot(request(None)).await.is_ok());
    assert!(observing.oneshot(request(Some("two keys"))).await.is_ok());
    let expected = [
        told("key_added observed=true"),
        told("rejected observed=true reason=malformed_key"),
    ];
    assert_eq!(events.take(), expected);
}
