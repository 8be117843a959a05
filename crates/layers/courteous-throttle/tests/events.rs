//! What a throttle tells a subscriber.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{num::NonZeroU32, time::Duration};

use courteous_testkit::{Events, Probe, Reply, Task};
use courteous_throttle::{Bucket, Rate, ThrottleLayer};
use http::Request;
use http_body_util::Empty;
use tower::{Layer, ServiceExt};

fn request() -> Request<Empty<&'static [u8]>> {
    let request = Request::get("https://me:word@api.example:8443/t0ken?key=k3y");
    request.body(Empty::new()).unwrap()
}

fn bucket() -> Bucket {
    let rate = Rate::new(1, Duration::from_secs(10)).unwrap();
    Bucket::new(rate.with_burst(NonZeroU32::MIN))
}

fn told(fields: &str) -> String {
    format!("DEBUG courteous::throttle {fields} method=GET origin=https://api.example:8443")
}

#[tokio::test(start_paused = true)]
async fn a_rejection_names_reason_wait_method_and_origin_when_it_is_made() {
    let events = Events::listen();
    let layer = ThrottleLayer::from(bucket()).with_max_wait(Duration::from_secs(1));
    let service = layer.layer(Probe::new());
    assert!(service.clone().oneshot(request()).await.is_ok());
    assert!(events.take().is_empty());
    let mut rejected = Task::new(service.oneshot(request()));
    assert!(rejected.settle().await.is_ready());
    assert_eq!(
        events.take(),
        [told("rejected reason=max_wait wait_ms=10000")]
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_response_closes_names_pause_cause_and_status() {
    for (reply, expected) in [
        (
            Reply::status(429).header("retry-after", "7"),
            "closed pause_ms=7000 cause=refusal status=429",
        ),
        (
            Reply::ok()
                .header("x-ratelimit-remaining", "0")
                .header("x-ratelimit-reset", "30"),
            "closed pause_ms=30000 cause=quota status=200",
        ),
        (
            Reply::status(429)
                .header("retry-after", "7")
                .header("ratelimit-policy", "\"day\";q=100;w=60")
                .header("ratelimit", "\"day\";r=0;t=20"),
            "closed pause_ms=7000 cause=named_quota status=429",
        ),
        (
            Reply::ok()
                .header("ratelimit-policy", "\"day\";q=100;w=60")
                .header("ratelimit", "\"day\";r=0;t=20"),
            "closed pause_ms=20000 cause=named_quota status=200",
        ),
    ] {
        let events = Events::listen();
        let probe = Probe::new().replies([reply]);
        let service = ThrottleLayer::from(bucket()).layer(probe);
        assert!(service.oneshot(request()).await.is_ok());
        assert_eq!(events.take(), [told(expected)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_bucket_that_closes_meanwhile_is_told_as_rejected() {
    let events = Events::listen();
    let bucket = bucket();
    let layer = ThrottleLayer::from(bucket).with_max_wait(Duration::from_secs(15));
    let probe = Probe::new().replies([Reply::status(429)
        .header("retry-after", "60")
        .after(Duration::from_secs(5))]);
    let service = layer.layer(probe);
    let mut first = Task::new(service.clone().oneshot(request()));
    assert!(first.settle().await.is_pending());
    let mut second = Task::new(service.oneshot(request()));
    assert!(second.settle().await.is_pending());
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(first.settle().await.is_ready());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(second.settle().await.is_ready());
    let events = events.take();
    assert_eq!(
        events[0],
        told("closed pause_ms=60000 cause=refusal status=429")
    );
    assert!(
        events[1].starts_with("DEBUG courteous::throttle rejected reason="),
        "{events:?}"
    );
    assert!(
        events[1].ends_with(" method=GET origin=https://api.example:8443"),
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_throttle_that_only_observes_tells_what_it_would_have_done() {
    let events = Events::listen();
    let probe = Probe::new().replies([
        Reply::ok(),
        Reply::ok(),
        Reply::status(429).header("retry-after", "60"),
    ]);
    let layer = ThrottleLayer::from(bucket()).with_max_wait(Duration::from_secs(15));
    let service = layer.observe_only(true).layer(probe);
    for _ in 0..3 {
        assert!(service.clone().oneshot(request()).await.is_ok());
    }
    let expected = [
        told("waiting observed=true wait_ms=10000"),
        told("rejected observed=true reason=max_wait wait_ms=20000"),
        told("closed observed=true pause_ms=60000 cause=refusal status=429"),
    ];
    assert_eq!(events.take(), expected);
}
