//! A server that asks for a pause: which calls wait, how long, and what they hold meanwhile.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod parts;

use std::{future::poll_fn, num::NonZeroU32, time::Duration};

use bytes::Bytes;
use courteous_concurrency::{ConcurrencyLimitLayer, Limiter};
use courteous_core::BoxError;
use courteous_retry::RetryLayer;
use courteous_testkit::{Probe, Reply, Task};
use courteous_throttle::{Rate, ThrottleLayer};
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::Instant;
use tower_layer::{Layer, Stack};
use tower_service::Service;

use crate::parts::throttle_of;

const SECOND: Duration = Duration::from_secs(1);

fn put(uri: &str) -> Request<Full<Bytes>> {
    Request::put(uri).body(Full::default()).unwrap()
}

async fn send<S, B>(mut service: S, request: Request<Full<Bytes>>) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| service.poll_ready(cx))
        .await
        .map_err(Into::into)?;
    service.call(request).await.map_err(Into::into)
}

/// How long after a 429 that asks for 5 s the next request is sent. It takes `calls` calls to get
/// that request through.
async fn pauses<L, S, B>(layer: impl Fn() -> L, calls: usize) -> Vec<Duration>
where
    L: Layer<Probe, Service = S>,
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    let mut pauses = Vec::new();
    for _ in 0..50 {
        let refusal = Reply::status(429).header("retry-after", "5");
        let probe = Probe::new().replies([refusal]);
        let service = layer().layer(probe.clone());
        for call in 1..=calls {
            let response = send(service.clone(), put("http://a.test/")).await.unwrap();
            let expected = if call == calls { 200 } else { 429 };
            assert_eq!(response.status(), expected);
        }
        let sent = probe.instants();
        assert_eq!(sent.len(), 2);
        pauses.push(sent[1] - sent[0]);
    }
    pauses
}

fn assert_five_seconds_and_one_draw(pauses: &[Duration]) {
    // Timers are up to a millisecond late.
    let most = 6 * SECOND + Duration::from_millis(2);
    assert!(
        pauses
            .iter()
            .all(|pause| (5 * SECOND..=most).contains(pause)),
        "{pauses:?}"
    );
    let late = pauses
        .iter()
        .filter(|pause| **pause > Duration::from_millis(5500))
        .count();
    // One draw, evenly spread. With two draws, three in four would be late.
    assert!((8..=42).contains(&late), "{late} of {}", pauses.len());
}

#[tokio::test(start_paused = true)]
async fn one_refusal_means_one_pause_in_either_order_and_with_either_layer_alone() {
    let throttle = || throttle_of(100, 10).0;
    assert_five_seconds_and_one_draw(&pauses(RetryLayer::new, 1).await);
    assert_five_seconds_and_one_draw(&pauses(throttle, 2).await);
    let retry_outside = || Stack::new(throttle(), RetryLayer::new());
    assert_five_seconds_and_one_draw(&pauses(retry_outside, 1).await);
    let retry_inside = || Stack::new(RetryLayer::new(), throttle());
    assert_five_seconds_and_one_draw(&pauses(retry_inside, 1).await);
}

#[tokio::test(start_paused = true)]
async fn a_closed_origin_takes_no_permit_from_an_open_one() {
    let rate = Rate::new(100, SECOND).unwrap().with_burst(NonZeroU32::MIN);
    let limiter = Limiter::new(64).unwrap();
    let limits = Stack::new(
        ThrottleLayer::per_origin(rate),
        ConcurrencyLimitLayer::from(limiter.clone()),
    );
    let probe = Probe::new().replies([Reply::status(429).header("retry-after", "20")]);
    let service = Stack::new(limits, RetryLayer::new()).layer(probe.clone());

    let start = Instant::now();
    let mut closed = Vec::new();
    for _ in 0..200 {
        let mut call = Task::new(send(service.clone(), put("http://a.test/")));
        assert!(call.settle().await.is_pending());
        closed.push(call);
    }
    assert_eq!(
        limiter.in_flight(),
        0,
        "permits held by calls that wait for the gate"
    );

    let mut open = Vec::new();
    for _ in 0..400 {
        open.push(Task::new(send(service.clone(), put("http://b.test/"))));
    }
    for response in Task::finish_all(&mut open).await {
        assert_eq!(response.unwrap().status(), 200);
    }
    let full_rate = 399 * SECOND / 100;
    let elapsed = start.elapsed();
    assert!(
        elapsed <= full_rate + Duration::from_millis(10),
        "{elapsed:?}"
    );

    for response in Task::finish_all(&mut closed).await {
        assert_eq!(response.unwrap().status(), 200);
    }
    let seen = probe.seen();
    let of_a = seen
        .iter()
        .filter(|seen| seen.uri.host() == Some("a.test"))
        .skip(1);
    assert!(of_a.clone().all(|seen| seen.at >= start + 20 * SECOND));
    assert_eq!(of_a.count(), 200);
}

#[tokio::test(start_paused = true)]
async fn without_a_retry_outside_a_closed_origin_is_waited_for_under_permits() {
    let rate = Rate::new(100, SECOND).unwrap();
    let limiter = Limiter::new(64).unwrap();
    let limits = Stack::new(
        ThrottleLayer::per_origin(rate),
        ConcurrencyLimitLayer::from(limiter.clone()),
    );
    let probe = Probe::new().replies([Reply::status(429).header("retry-after", "20")]);
    let service = limits.layer(probe.clone());
    let refused = send(service.clone(), put("http://a.test/")).await.unwrap();
    assert_eq!(refused.status(), 429);
    let mut closed = Vec::new();
    for _ in 0..200 {
        let mut call = Task::new(send(service.clone(), put("http://a.test/")));
        assert!(call.settle().await.is_pending());
        closed.push(call);
    }
    assert_eq!(limiter.in_flight(), 64);
    Task::finish_all(&mut closed).await;
    assert_eq!((limiter.in_flight(), probe.calls()), (0, 201));
}

/// What a server says of its quotas, in the standard stack, whose throttle has no rate.
mod quotas {
    use courteous::Stack;
    use futures_util::future::join_all;
    use tower::ServiceExt;

    use super::*;

    /// A server like GitHub's, with `searches` left of 30 in this minute, and enough of all other
    /// quotas.
    fn github(searches: &'static str) -> Probe {
        Probe::new().otherwise(move |seen| {
            let (resource, remaining) = match seen.uri.path().starts_with("/search") {
                true => ("search", searches),
                false => ("core", "4999"),
            };
            Reply::ok()
                .header("date", "Mon, 30 Nov 2026 10:00:00 GMT")
                .header("x-ratelimit-resource", resource)
                .header("x-ratelimit-remaining", remaining)
                .header("x-ratelimit-reset", "1796032860")
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_one_resource_holds_up_no_calls_of_another() {
        for searches in ["29", "3", "0"] {
            let probe = github(searches);
            let client = Stack::new().build().unwrap().layer(probe.clone());
            let call = |path: String| {
                let client = client.clone();
                let request = put(&format!("http://api.test{path}"));
                async move { client.oneshot(request).await.map(drop) }
            };
            call("/search/issues".to_owned()).await.unwrap();
            let start = Instant::now();
            for number in 0..40 {
                call(format!("/repos/{number}")).await.unwrap();
            }
            let crowd = (0..40).map(|number| call(format!("/repos/{number}")));
            for result in join_all(crowd).await {
                result.unwrap();
            }
            assert_eq!(start.elapsed(), Duration::ZERO, "{searches} left");
            let again = call("/search/issues".to_owned()).await;
            match searches {
                "0" => {
                    let opens = again.unwrap_err().not_before().unwrap();
                    assert!(opens >= start + 60 * SECOND && opens <= start + 62 * SECOND);
                }
                _ => again.unwrap(),
            }
            assert_eq!(start.elapsed(), Duration::ZERO, "{searches} left");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_to_a_server_that_asks_for_two_hours_before_they_are_over() {
        let pause = 2 * 60 * 60 * SECOND;
        let start = Instant::now();
        let probe = Probe::new().otherwise(move |_| {
            let left = pause.saturating_sub(start.elapsed()).as_secs();
            match left {
                0 => Reply::ok(),
                left => Reply::status(429).header("retry-after", &left.to_string()),
            }
        });
        let client = Stack::new().build().unwrap().layer(probe.clone());
        let first = client.clone().oneshot(put("http://a.test/")).await;
        assert_eq!(first.unwrap().status(), 429);
        while start.elapsed() < pause - 60 * SECOND {
            let rejected = client.clone().oneshot(put("http://a.test/b")).await;
            let rejected = rejected.map(drop).unwrap_err();
            let opens = rejected.not_before().unwrap();
            assert!(opens >= start + pause && opens <= start + pause + 2 * SECOND);
            tokio::time::sleep(20 * SECOND).await;
        }
        assert_eq!(probe.calls(), 1);
        // Calls to the other server continue.
        assert!(client.clone().oneshot(put("http://b.test/")).await.is_ok());
        tokio::time::sleep(62 * SECOND).await;
        assert!(client.oneshot(put("http://a.test/")).await.is_ok());
    }
}
