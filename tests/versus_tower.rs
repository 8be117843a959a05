//! How these layers differ from Tower's own. Each fact that README.md states is shown on both.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{marker::PhantomData, time::Duration};

use bytes::Bytes;
use courteous::{
    BoxError, Error,
    concurrency::{ConcurrencyLimitLayer, Limiter},
    retry::RetryLayer,
    throttle::{Rate, Throttle, ThrottleLayer},
    timeout::TotalTimeoutLayer,
};
use courteous_testkit::{Probe, Reply, TestBody};
use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::time::{Instant, sleep, timeout};
use tower::{
    Layer, Service, ServiceExt,
    limit::{ConcurrencyLimit, RateLimit, rate},
    retry::budget::{Budget as _, TpsBudget},
    timeout::Timeout,
};

const MOMENT: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

fn request() -> Request<Empty<Bytes>> {
    Request::get("http://api.test/").body(Empty::new()).unwrap()
}

async fn make_ready<S: Service<Request<Empty<Bytes>>>>(service: &mut S) {
    assert!(service.ready().await.is_ok());
}

fn limiter_of_one() -> Limiter {
    Limiter::new(1).unwrap()
}

#[tokio::test(start_paused = true)]
async fn our_timeout_covers_the_wait_for_a_permit() {
    let limit = Duration::from_millis(100);

    let towers = ConcurrencyLimit::new(Probe::new(), 1);
    let mut holder = towers.clone();
    make_ready(&mut holder).await;
    let call = Timeout::new(towers, limit).oneshot(request());
    assert!(
        timeout(MINUTE, call).await.is_err(),
        "after a minute, still no timeout"
    );

    let limiter = limiter_of_one();
    let ours = ConcurrencyLimitLayer::from(limiter.clone());
    tokio::spawn(
        ours.layer(Probe::new().replies([Reply::never()]))
            .oneshot(request()),
    );
    sleep(MOMENT).await;
    assert_eq!(limiter.in_flight(), 1);
    let start = Instant::now();
    let call = TotalTimeoutLayer::new(limit).layer(ours.layer(Probe::new()));
    let error: BoxError = call.oneshot(request()).await.map(drop).unwrap_err();
    assert_eq!(start.elapsed(), limit);
    assert!(Error::new(error).is_timeout());
}

#[tokio::test(start_paused = true)]
async fn our_permit_is_held_to_the_end_of_the_response_body() {
    let streaming = || Probe::new().otherwise(|_| Reply::ok().body(TestBody::new().chunk("data")));

    let towers = ConcurrencyLimit::new(streaming(), 1);
    let unread = towers.clone().oneshot(request()).await.unwrap();
    assert!(
        timeout(MINUTE, towers.oneshot(request())).await.is_ok(),
        "two at a time"
    );
    drop(unread);

    let limiter = limiter_of_one();
    let ours = ConcurrencyLimitLayer::from(limiter.clone()).layer(streaming());
    let unread = ours.clone().oneshot(request()).await.unwrap();
    assert_eq!(limiter.in_flight(), 1);
    assert!(
        timeout(MINUTE, ours.clone().oneshot(request()))
            .await
            .is_err()
    );
    assert!(unread.into_body().collect().await.is_ok());
    assert_eq!(limiter.in_flight(), 0);
    assert!(timeout(MINUTE, ours.oneshot(request())).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_ready_but_idle_clone_holds_none_of_our_permits() {
    let towers = ConcurrencyLimit::new(Probe::new(), 1);
    let mut idle = towers.clone();
    make_ready(&mut idle).await;
    assert!(
        timeout(MINUTE, towers.oneshot(request())).await.is_err(),
        "starved"
    );

    let ours = ConcurrencyLimitLayer::from(limiter_of_one()).layer(Probe::new());
    let mut idle = ours.clone();
    make_ready(&mut idle).await;
    assert!(timeout(MINUTE, ours.oneshot(request())).await.is_ok());
}

/// Whether a type is `Clone`, as a value. The type's own constant takes precedence over the
/// trait's.
struct IsClone<T>(PhantomData<T>);

trait Otherwise {
    const ANSWER: bool = false;
}

impl<T> Otherwise for IsClone<T> {}

impl<T: Clone> IsClone<T> {
    const ANSWER: bool = true;
}

#[tokio::test(start_paused = true)]
async fn our_throttle_can_be_cloned_and_its_clones_share_the_rate() {
    const { assert!(!IsClone::<RateLimit<Probe>>::ANSWER) };
    const { assert!(IsClone::<Throttle<Probe>>::ANSWER) };

    let probe = Probe::new();
    let ours = ThrottleLayer::new(Rate::per_second(10.0).unwrap()).layer(probe.clone());
    for _ in 0..100 {
        tokio::spawn(ours.clone().oneshot(request()));
    }
    sleep(Duration::from_millis(1_001)).await;
    assert_eq!(probe.calls(), 11, "the burst of 1, and 10 in a second");
}

/// The most calls within 20 ms.
fn peak(instants: &[Instant]) -> usize {
    let window = Duration::from_millis(20);
    let within = |from: &Instant| {
        instants
            .iter()
            .filter(|at| **at >= *from && at.duration_since(*from) <= window)
            .count()
    };
    instants.iter().map(within).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn our_rate_has_no_edges_at_which_it_doubles() {
    let probe = Probe::new();
    let second = Duration::from_secs(1);
    let mut towers = RateLimit::new(probe.clone(), rate::Rate::new(10, second));
    // One call begins the window. The rest of the window is used just before its end, and the next
    // window just after.
    make_ready(&mut towers).await;
    assert!(towers.call(request()).await.is_ok());
    sleep(second - Duration::from_millis(10)).await;
    for _ in 0..19 {
        make_ready(&mut towers).await;
        assert!(towers.call(request()).await.is_ok());
    }
    assert_eq!(peak(&probe.instants()), 19, "of 10 a second");

    let probe = Probe::new();
    let burst = std::num::NonZeroU32::new(10).unwrap();
    let rate = Rate::per_second(10.0).unwrap().with_burst(burst);
    let ours = ThrottleLayer::new(rate).layer(probe.clone());
    assert!(ours.clone().oneshot(request()).await.is_ok());
    sleep(second - Duration::from_millis(10)).await;
    for _ in 0..19 {
        assert!(ours.clone().oneshot(request()).await.is_ok());
    }
    assert_eq!(peak(&probe.instants()), 10, "the burst");
}

#[tokio::test(start_paused = true)]
async fn our_budget_grants_nothing_for_time_alone() {
    let towers = TpsBudget::default();
    let granted = std::iter::repeat_with(|| towers.withdraw()).take_while(|granted| *granted);
    assert!(granted.count() >= 100, "without a single success");

    let layer = RetryLayer::new();
    let down = layer.layer(Probe::new().otherwise(|_| Reply::status(503)));
    for _ in 0..100 {
        assert_eq!(down.clone().oneshot(request()).await.unwrap().status(), 503);
        sleep(MINUTE).await;
    }
    assert_eq!(layer.budget().retries(), 8);
}
