//! A key layer that only observes: no request is touched.
#![allow(clippy::unwrap_used, reason = "tests")]

use courteous_core::{Decision, ObserveOnly};
use courteous_idempotency::IdempotencyKeyLayer;
use courteous_testkit::{Probe, TestBody};
use http::{Method, Request};
use tower::{Layer, ServiceExt};

async fn send(layer: &IdempotencyKeyLayer, request: Request<TestBody>) -> Probe {
    let probe = Probe::new();
    let _ = layer.layer(probe.clone()).oneshot(request).await;
    probe
}

#[tokio::test]
async fn a_request_is_sent_as_it_is_and_counted_if_it_would_have_got_a_key() {
    let switch = ObserveOnly::new();
    let layer = IdempotencyKeyLayer::new().with_hosts(["api.test"]).unwrap();
    let layer = layer.observe_only(switch.clone());
    let request = |method: &Method, uri: &str| {
        let request = Request::builder().method(method).uri(uri);
        request.body(TestBody::new()).unwrap()
    };
    let counts = || {
        (
            switch.count(Decision::Key),
            switch.count(Decision::KeyReject),
        )
    };

    for (method, uri) in [
        (Method::GET, "http://api.test/"),
        (Method::POST, "http://b.test/"),
    ] {
        send(&layer, request(&method, uri)).await;
        assert_eq!(counts(), (0, 0));
    }
    let seen = send(&layer, request(&Method::POST, "http://api.test/"))
        .await
        .seen();
    assert!(seen[0].headers.is_empty() && seen[0].extensions.is_empty());
    assert_eq!(counts(), (1, 0));

    let with = |key: &str| {
        let mut request = request(&Method::POST, "http://api.test/");
        request
            .headers_mut()
            .insert("idempotency-key", key.parse().unwrap());
        request
    };
    send(&layer, with("k1")).await;
    assert_eq!(counts(), (1, 0));
    let mut twice = with("k1");
    twice
        .headers_mut()
        .append("idempotency-key", "k2".parse().unwrap());
    assert_eq!(
        send(&layer, twice).await.calls(),
        1,
        "sent though it is malformed"
    );
    assert_eq!(counts(), (1, 1));

    switch.set(false);
    let seen = send(&layer, request(&Method::POST, "http://api.test/"))
        .await
        .seen();
    assert!(seen[0].headers.contains_key("idempotency-key"));
    assert_eq!(counts(), (1, 1));
}
