//! The events that a limit sends to a subscriber.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use courteous_concurrency::ConcurrencyLimitLayer;
use courteous_testkit::{Events, Probe, Reply, Task};
use http::Request;
use http_body_util::Empty;
use tower::{Layer, ServiceExt};

fn request() -> Request<Empty<&'static [u8]>> {
    let request = Request::post("https://me:word@api.example/t0ken?key=k3y");
    request.body(Empty::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_rejection_names_reason_method_and_origin() {
    let events = Events::listen();
    let told = |fields: &str| {
        format!("DEBUG courteous::concurrency {fields} method=POST origin=https://api.example")
    };
    let layer = || ConcurrencyLimitLayer::new(1).unwrap();
    let probe = || Probe::new().otherwise(|_| Reply::ok().after(Duration::from_secs(5)));
    for (layer, expected) in [
        (layer().with_max_waiting(0), "rejected reason=at_capacity"),
        (
            layer().with_max_wait(Duration::from_secs(1)),
            "rejected reason=max_wait",
        ),
        (
            layer().observe_only(true),
            "waiting observed=true in_flight=1",
        ),
        (
            layer().with_max_waiting(0).observe_only(true),
            "rejected observed=true reason=at_capacity in_flight=1",
        ),
    ] {
        let service = layer.layer(probe());
        let mut first = Task::new(service.clone().oneshot(request()));
        assert!(first.settle().await.is_pending());
        assert!(events.take().is_empty());
        let _ = service.oneshot(request()).await;
        assert_eq!(events.take(), [told(expected)]);
    }
}
