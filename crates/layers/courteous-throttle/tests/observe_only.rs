//! A throttle that only observes: what it tells, and that it changes nothing.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;
use courteous_core::{
    CallContext, Decision, Gate, ObserveOnly, RejectReason, Rejected, find_cause,
};
use courteous_testkit::{Probe, Reply};
use courteous_throttle::{Bucket, Cost, Keyed, Rate, Throttle, ThrottleLayer};
use http::Request;
use http_body_util::Empty;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn rate(text: &str, burst: u32) -> Rate {
    let rate: Rate = text.parse().unwrap();
    rate.with_burst(NonZeroU32::new(burst).unwrap())
}

fn request(cost: u32) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    request.extensions_mut().insert(Cost::new(cost));
    request
}

fn counts(switch: &ObserveOnly) -> (u64, u64) {
    let count = |decision| switch.count(decision);
    (
        count(Decision::ThrottleWait),
        count(Decision::ThrottleReject),
    )
}

/// When a call comes, counted from the start, and what it costs.
type Arrival = (Duration, u32);

/// What became of a call: how long it waited, or why it was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Waited(Duration),
    Rejected(RejectReason, Option<Duration>),
}

/// Calls `service` at each of the instants, and returns what became of the calls.
async fn enforced(mut service: Throttle<Probe>, arrivals: &[Arrival]) -> Vec<Came> {
    let start = Instant::now();
    let mut calls = Vec::new();
    for &(at, cost) in arrivals {
        sleep_until(start + at).await;
        let ready = ServiceExt::<Request<Empty<Bytes>>>::ready(&mut service);
        // The order of these calls is the order of the queue.
        let call = ready.await.unwrap().call(request(cost));
        calls.push(tokio::spawn(async move {
            match call.await {
                Ok(_) => Came::Waited(start.elapsed() - at),
                Err(error) => {
                    let rejected: &Rejected = find_cause(&*error).unwrap();
                    Came::Rejected(rejected.reason(), rejected.wait())
                }
            }
        }));
    }
    let mut came = Vec::new();
    for call in calls {
        came.push(call.await.unwrap());
    }
    came
}

/// Does the same with calls that are only observed. Each call has to come through at once.
async fn observed(
    service: Throttle<Probe>,
    switch: &ObserveOnly,
    arrivals: &[Arrival],
) -> Vec<Came> {
    let start = Instant::now();
    let mut came = Vec::new();
    for &(at, cost) in arrivals {
        sleep_until(start + at).await;
        let before = (counts(switch), switch.total_wait(Decision::ThrottleWait));
        service.clone().oneshot(request(cost)).await.unwrap();
        assert_eq!(start.elapsed(), at, "sent at once");
        let (waits, rejects) = counts(switch);
        let wait = switch.total_wait(Decision::ThrottleWait) - before.1;
        came.push(match (waits - before.0.0, rejects - before.0.1) {
            (0, 0) => Came::Waited(Duration::ZERO),
            (1, 0) => Came::Waited(wait),
            // The event tells the reason.
            _ => Came::Rejected(RejectReason::MaxWait, None),
        });
    }
    came
}

/// Arrivals at whole milliseconds, in clusters, of many seeds.
fn arrivals(seed: u64, highest_cost: u32) -> Vec<Arrival> {
    let dice = courteous_core::Dice::seeded(seed);
    let mut at = Duration::ZERO;
    (0..60)
        .map(|_| {
            if dice.fraction() < 0.5 {
                at += (dice.fraction() * 400.0) as u32 * MS;
            }
            (at, 1 + (dice.fraction() * f64::from(highest_cost)) as u32)
        })
        .collect()
}

/// Drops the reasons of the rejections, as reasons are not counted.
fn without_reasons(came: Vec<Came>) -> Vec<Came> {
    came.into_iter()
        .map(|came| match came {
            Came::Rejected(..) => Came::Rejected(RejectReason::MaxWait, None),
            waited => waited,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_waits_and_rejections_that_are_told_are_those_of_an_enforced_run() {
    let (mut waits, mut rejects) = (0, 0);
    for seed in 0..60 {
        for (highest_cost, max_wait, max_waiting) in [
            (1, None, usize::MAX),
            (3, None, usize::MAX),
            (1, Some(700 * MS), usize::MAX),
            (3, Some(SECOND), usize::MAX),
            (1, None, 3),
            (1, None, 0),
        ] {
            // In every third run, the server refuses the first call.
            let first = || match seed % 3 {
                0 => Reply::status(429).header("retry-after", "2"),
                _ => Reply::ok(),
            };
            let probe = || Probe::new().replies([first()]);
            let arrivals = arrivals(seed, highest_cost);
            let layer = || {
                let bucket = Bucket::new(rate("10/s", 3)).and(rate("100/m", 5));
                let layer = ThrottleLayer::from(bucket.with_jitter(Duration::ZERO));
                let layer = layer.with_max_waiting(max_waiting);
                match max_wait {
                    Some(wait) => layer.with_max_wait(wait),
                    None => layer,
                }
            };
            let expected = enforced(layer().layer(probe()), &arrivals).await;
            let switch = ObserveOnly::new();
            let service = layer().observe_only(switch.clone()).layer(probe());
            let told = observed(service, &switch, &arrivals).await;
            assert_eq!(
                told,
                without_reasons(expected),
                "seed {seed}, cost {highest_cost}, {max_wait:?}, {max_waiting}"
            );
            waits += counts(&switch).0;
            rejects += counts(&switch).1;
        }
    }
    assert!(waits > 1000 && rejects > 1000, "{waits}, {rejects}");
}

#[tokio::test(start_paused = true)]
async fn an_observed_request_is_sent_as_it_is() {
    let (bare, probe) = (Probe::new(), Probe::new());
    let layer = ThrottleLayer::new(rate("1/s", 1)).observe_only(true);
    let service = layer.layer(probe.clone());
    for _ in 0..5 {
        bare.clone().oneshot(request(1)).await.unwrap();
        service.clone().oneshot(request(1)).await.unwrap();
    }
    for (seen, bare) in probe.seen().iter().zip(bare.seen()) {
        assert_eq!((seen.at, &seen.headers), (bare.at, &bare.headers));
        assert_eq!(seen.extensions.len(), bare.extensions.len());
    }
    let bucket = layer.partition();
    assert_eq!((bucket.available(), bucket.waiting()), (1, 0), "untouched");
    assert_eq!(bucket.observed_waiting(), 4);
    sleep(2 * SECOND).await;
    assert_eq!(bucket.observed_waiting(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_closes_the_bucket_virtually() {
    let probe = Probe::new().replies([Reply::status(429).header("retry-after", "5")]);
    let bucket = Bucket::new(rate("10/s", 3)).with_jitter(Duration::ZERO);
    let switch = ObserveOnly::new();
    let layer = ThrottleLayer::from(bucket.clone()).observe_only(switch.clone());
    let service = layer.layer(probe.clone());
    let start = Instant::now();
    let response = service.clone().oneshot(request(1)).await.unwrap();
    assert!(response.extensions().get::<Gate>().is_none());
    assert_eq!(bucket.closed_until(), None);
    assert_eq!(bucket.observed_closed_until(), Some(start + 5 * SECOND));

    service.clone().oneshot(request(1)).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(switch.longest_wait(Decision::ThrottleWait), 5 * SECOND);
    // If the throttle enforced, a call with a retry outside would have been rejected, and told to
    // wait.
    let mut again = request(1);
    CallContext::edit(again.extensions_mut()).set_attempt(NonZeroU32::MIN);
    service.clone().oneshot(again).await.unwrap();
    assert_eq!(counts(&switch), (1, 1));
    // Another stack on the same bucket enforces. It has heard nothing.
    let enforced = ThrottleLayer::from(bucket.clone()).layer(probe);
    enforced.oneshot(request(1)).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);

    sleep(7 * SECOND).await;
    assert_eq!(bucket.observed_closed_until(), None);
    service.oneshot(request(1)).await.unwrap();
    assert_eq!(counts(&switch), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_named_quota_holds_up_virtual_calls() {
    let used_up = "\"a\";r=0;t=30";
    let probe = Probe::new().otherwise(move |_| Reply::ok().header("ratelimit", used_up));
    let switch = ObserveOnly::new();
    let bucket = Bucket::new(rate("100/s", 100)).with_jitter(Duration::ZERO);
    let layer = ThrottleLayer::from(bucket).observe_only(switch.clone());
    let service = layer.layer(probe);
    for _ in 0..2 {
        let mut request = request(1);
        *request.uri_mut() = "http://api.test/".parse().unwrap();
        service.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(counts(&switch), (1, 0));
    assert_eq!(switch.longest_wait(Decision::ThrottleWait), 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn calls_are_enforced_from_the_moment_the_switch_is_off() {
    let probe = Probe::new();
    let switch = ObserveOnly::new();
    let layer = ThrottleLayer::new(rate("1/s", 1)).observe_only(switch.clone());
    let service = layer.layer(probe);
    let start = Instant::now();
    for _ in 0..5 {
        service.clone().oneshot(request(1)).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    layer.observe_only_switch().unwrap().set(false);
    // Real calls do not pay for the virtual ones.
    service.clone().oneshot(request(1)).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    service.clone().oneshot(request(1)).await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(counts(&switch), (4, 0));
    // Calls that were really sent count for the next virtual ones.
    sleep(10 * SECOND).await;
    service.clone().oneshot(request(1)).await.unwrap();
    switch.set(true);
    service.clone().oneshot(request(1)).await.unwrap();
    assert_eq!(counts(&switch), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_changed_rate_is_that_of_virtual_calls_too() {
    let switch = ObserveOnly::new();
    let layer = ThrottleLayer::new(rate("1/s", 1)).observe_only(switch.clone());
    let service = layer.layer(Probe::new());
    service.clone().oneshot(request(1)).await.unwrap();
    layer.partition().set_rate(rate("10/s", 1));
    service.clone().oneshot(request(1)).await.unwrap();
    assert_eq!(switch.longest_wait(Decision::ThrottleWait), 100 * MS);
}

#[tokio::test(start_paused = true)]
async fn each_key_is_observed_for_itself_and_is_remembered_while_it_is_in_debt() {
    let switch = ObserveOnly::new();
    let bucket = Bucket::new(rate("1/s", 1));
    let keyed = Keyed::new(bucket, |head| head.uri().path().to_owned());
    let layer = ThrottleLayer::of(keyed).observe_only(switch.clone());
    let service = layer.layer(Probe::new());
    let send = async |path: String| {
        let mut request = request(1);
        *request.uri_mut() = path.parse().unwrap();
        service.clone().oneshot(request).await.unwrap();
    };
    for _ in 0..3 {
        send("/a".to_owned()).await;
    }
    send("/b".to_owned()).await;
    assert_eq!(counts(&switch), (2, 0));
    sleep(2 * SECOND + 500 * MS).await;
    // Many idle keys are forgotten. A key with virtual debt is not.
    for key in 0..200 {
        send(format!("/{key}")).await;
        sleep(MS).await;
    }
    let before = counts(&switch);
    send("/a".to_owned()).await;
    assert_eq!(counts(&switch).0, before.0 + 1);
    sleep(60 * SECOND).await;
    for key in 1000..1200 {
        send(format!("/{key}")).await;
    }
    assert!(layer.partition().len() < 320, "{}", layer.partition().len());
}

#[tokio::test(start_paused = true)]
async fn a_crowd_takes_a_bounded_place() {
    let switch = ObserveOnly::new();
    let layer = ThrottleLayer::new(rate("1/s", 1)).observe_only(switch.clone());
    let service = layer.layer(Probe::new());
    for _ in 0..1_200 {
        service.clone().oneshot(request(1)).await.unwrap();
    }
    assert_eq!(layer.partition().observed_waiting(), 1_000);
    let longest = switch.longest_wait(Decision::ThrottleWait);
    assert_eq!(longest, 1_001 * SECOND);
}
