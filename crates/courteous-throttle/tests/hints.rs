//! What the throttle makes of what a server says about waiting.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{num::NonZeroU32, time::Duration};

use courteous_core::{Gate, RejectReason, Rejected, find_cause};
use courteous_throttle::{Bucket, Rate, Throttle, ThrottleLayer};
use http::Response;
use support::{Sends, ready_call, request, retried, sec};
use tokio::time::{self, Instant};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::Layer;

fn rate(text: &str, burst: u32) -> Rate {
    let rate: Rate = text.parse().unwrap();
    rate.with_burst(NonZeroU32::new(burst).unwrap())
}

fn throttle(rate: Rate) -> (Sends, Throttle<Sends>) {
    let sends = Sends::default();
    let service = ThrottleLayer::new(rate).layer(sends.clone());
    (sends, service)
}

fn rejected(error: &courteous_core::BoxError) -> Rejected {
    *find_cause(&**error).unwrap()
}

async fn answered(
    sends: &Sends,
    service: &mut Throttle<Sends>,
    status: u16,
    headers: &[(&'static str, &str)],
) -> Response<()> {
    sends.answer(status, headers);
    ready_call(service, request(0)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_429_with_a_hint_closes_the_bucket_for_every_clone_until_it_ends() {
    let (sends, mut service) = throttle(rate("100/s", 10));
    let mut clone = service.clone();
    let start = Instant::now();
    let response = answered(&sends, &mut service, 429, &[("retry-after", "5")]).await;
    let opens = response.extensions().get::<Gate>().unwrap().opens_at();
    assert!(opens >= start + sec(5) && opens <= start + sec(6));
    assert_eq!(clone.partition().closed_until(), Some(start + sec(5)));
    assert_eq!(clone.partition().available(), 0);
    ready_call(&mut clone, request(1)).await.unwrap();
    assert!(start.elapsed() >= sec(5) && start.elapsed() <= sec(6));
    assert_eq!(clone.partition().closed_until(), None);
}

#[tokio::test(start_paused = true)]
async fn a_503_closes_the_bucket_only_with_a_hint() {
    let (sends, mut service) = throttle(rate("100/s", 10));
    for status in [429, 503] {
        let response = answered(&sends, &mut service, status, &[("x-other", "1")]).await;
        assert_eq!(response.extensions().get::<Gate>(), None);
        assert_eq!(service.partition().closed_until(), None);
    }
    let response = answered(&sends, &mut service, 200, &[("retry-after", "5")]).await;
    assert_eq!(response.extensions().get::<Gate>(), None);
    answered(&sends, &mut service, 503, &[("retry-after", "5")]).await;
    assert!(service.partition().closed_until().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_malformed_hint_closes_nothing_and_an_absurd_one_not_for_ever() {
    let (sends, mut service) = throttle(rate("100/s", 10));
    for hint in ["-1", "soon", "1e9", "inf", "0"] {
        answered(&sends, &mut service, 429, &[("retry-after", hint)]).await;
        assert_eq!(service.partition().closed_until(), None, "{hint}");
    }
    let start = Instant::now();
    let response = answered(&sends, &mut service, 429, &[("retry-after", "100000")]).await;
    assert_eq!(
        service.partition().closed_until(),
        Some(start + sec(5 * 60))
    );
    // A retry is told all of it, and stops.
    let opens = response.extensions().get::<Gate>().unwrap().opens_at();
    assert!(opens >= start + sec(100_000));
}

#[tokio::test(start_paused = true)]
async fn without_hints_nothing_is_closed() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("1/s", 10))
        .without_hints()
        .layer(sends.clone());
    let response = answered(&sends, &mut service, 429, &[("retry-after", "5")]).await;
    assert_eq!(response.extensions().get::<Gate>(), None);
    assert_eq!(service.partition().closed_until(), None);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_hint_does_not_open_a_bucket_early() {
    let bucket = Bucket::new(rate("1/s", 1));
    let start = Instant::now();
    bucket.close_until(start + sec(9));
    bucket.close_until(start + sec(3));
    assert_eq!(bucket.closed_until(), Some(start + sec(9)));
    bucket.close_until(start + sec(10));
    assert_eq!(bucket.closed_until(), Some(start + sec(10)));
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_leave_after_the_hint_at_the_rate_and_in_order() {
    let sends = Sends::default();
    let bucket = Bucket::new(rate("10/s", 5));
    let mut service = ThrottleLayer::from(bucket.clone()).layer(sends.clone());
    let start = Instant::now();
    for id in 0..5 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    let mut calls: Vec<_> = (5..15)
        .map(|id| tokio::spawn(ready_call(&mut service, request(id))))
        .collect();
    time::sleep(Duration::from_millis(250)).await;
    bucket.close_until(start + sec(20));
    // Later ones stand behind.
    calls.extend((15..20).map(|id| tokio::spawn(ready_call(&mut service, request(id)))));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let all = sends.all();
    assert!(all.is_sorted());
    assert!(all[6].1 <= start + sec(1) && all[7].1 >= start + sec(20));
    sends.assert_bound(5, 10.0);
    let end = all[19].1 - start;
    assert!(
        end <= sec(20) + sec(1) + Duration::from_millis(1300),
        "{end:?}"
    );
    assert!(
        all[7].1 > start + sec(20),
        "drawn from a second, and exactly zero"
    );
}

#[tokio::test(start_paused = true)]
async fn a_crowd_at_a_closed_bucket_leaves_over_the_whole_jitter() {
    let (sends, mut service) = throttle(rate("10000/s", 1000));
    let start = Instant::now();
    service.partition().close_until(start + sec(5));
    let mut calls: Vec<_> = (0..50)
        .map(|id| tokio::spawn(ready_call(&mut service, request(id))))
        .collect();
    calls.extend((50..101).map(|id| tokio::spawn(ready_call(&mut service, request(id)))));
    // Closed for longer while all wait: each draws again.
    service.partition().close_until(start + sec(9));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let median = sends.all()[50].1 - start - sec(9);
    assert!(
        median > Duration::from_millis(200) && median < Duration::from_millis(800),
        "{median:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_bucket_opens_with_one_token() {
    let sends = Sends::default();
    let bucket = Bucket::new(rate("10/s", 5)).with_jitter(Duration::ZERO);
    let mut service = ThrottleLayer::from(bucket.clone()).layer(sends.clone());
    let start = Instant::now();
    bucket.close_until(start + sec(5));
    for id in 0..3 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    let sent: Vec<_> = sends
        .all()
        .iter()
        .map(|(_, at)| (*at - start).as_millis())
        .collect();
    assert_eq!(sent, [5000, 5100, 5200]);
}

#[tokio::test(start_paused = true)]
async fn the_draws_at_a_closed_bucket_differ() {
    let (sends, mut service) = throttle(rate("100/s", 10));
    answered(&sends, &mut service, 429, &[("retry-after", "5")]).await;
    let mut waits: Vec<_> = (0..20)
        .map(|id| {
            let error =
                assert_ready_err!(task::spawn(ready_call(&mut service, retried(id, 1))).poll());
            rejected(&error).wait().unwrap()
        })
        .collect();
    assert!(waits.iter().all(|wait| *wait >= sec(5) && *wait <= sec(6)));
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 10);
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_retry_outside_is_refused_by_a_closed_bucket_at_once() {
    let (sends, mut service) = throttle(rate("1/s", 1));
    let mut queued = {
        ready_call(&mut service, request(0)).await.unwrap();
        task::spawn(ready_call(&mut service, retried(1, 1)))
    };
    let mut patient = task::spawn(ready_call(&mut service, request(2)));
    assert_pending!(queued.poll());
    assert_pending!(patient.poll());
    let start = Instant::now();
    service.partition().close_until(start + sec(20));
    // Also one who waited already.
    assert!(queued.is_woken() && !patient.is_woken());
    for mut call in [queued, task::spawn(ready_call(&mut service, retried(3, 2)))] {
        let error = assert_ready_err!(call.poll());
        let rejected = rejected(&error);
        assert_eq!(rejected.reason(), RejectReason::Closed);
        let opens = rejected.gate().unwrap().opens_at();
        assert!(opens >= start + sec(20) && opens <= start + sec(21));
    }
    assert_eq!(service.partition().waiting(), 1);
    time::sleep(sec(21)).await;
    assert_ready_ok!(patient.poll());
    assert_eq!(sends.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_granted_call_does_not_pass_a_bucket_that_was_closed_meanwhile() {
    let (sends, mut service) = throttle(rate("1/s", 1));
    ready_call(&mut service, request(0)).await.unwrap();
    let mut plain = task::spawn(ready_call(&mut service, request(1)));
    let mut with_retry = task::spawn(ready_call(&mut service, retried(2, 1)));
    assert_pending!(plain.poll());
    assert_pending!(with_retry.poll());
    time::sleep(sec(2)).await;
    assert!(plain.is_woken() && with_retry.is_woken());
    service.partition().close_until(Instant::now() + sec(5));
    assert_pending!(plain.poll());
    let error = assert_ready_err!(with_retry.poll());
    assert_eq!(rejected(&error).reason(), RejectReason::Closed);
    assert_eq!(sends.all().len(), 1);
    time::sleep(sec(6)).await;
    assert!(plain.is_woken());
    assert_ready_ok!(plain.poll());
}

#[tokio::test(start_paused = true)]
async fn a_closed_bucket_refuses_those_who_cannot_wait_that_long() {
    let sends = Sends::default();
    let bucket = Bucket::new(rate("1/s", 1)).with_jitter(Duration::ZERO);
    let mut service = ThrottleLayer::from(bucket.clone())
        .with_max_wait(sec(10))
        .layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    let mut waiting = task::spawn(ready_call(&mut service, request(1)));
    assert_pending!(waiting.poll());
    let now = Instant::now();
    bucket.close_until(now + sec(11));
    assert!(waiting.is_woken());
    let expected = Rejected::new(RejectReason::MaxWait).with_wait(now, sec(11));
    assert_eq!(rejected(&assert_ready_err!(waiting.poll())), expected);
    let mut late = task::spawn(ready_call(&mut service, request(2)));
    assert_eq!(rejected(&assert_ready_err!(late.poll())), expected);
    let mut failing = ThrottleLayer::from(bucket).fail_fast().layer(sends);
    let mut call = task::spawn(ready_call(&mut failing, request(3)));
    let error = assert_ready_err!(call.poll());
    assert_eq!(rejected(&error).reason(), RejectReason::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_would_run_out_is_spread_over_the_time_that_is_left() {
    let (sends, mut service) = throttle(rate("10/s", 10));
    let headers = [("ratelimit", "\"default\";r=10;t=20")];
    answered(&sends, &mut service, 200, &headers).await;
    let start = Instant::now();
    for id in 1..=10 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    // Two seconds each, the first at once.
    assert_eq!(start.elapsed(), sec(18));
    time::sleep(sec(3)).await;
    let start = Instant::now();
    for id in 0..10 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_generous_quota_makes_nothing_faster() {
    let (sends, mut service) = throttle(rate("2/s", 1));
    answered(
        &sends,
        &mut service,
        200,
        &[("ratelimit", "\"d\";r=1000;t=10")],
    )
    .await;
    let start = Instant::now();
    for id in 0..10 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    assert_eq!(start.elapsed(), sec(5));
}

#[tokio::test(start_paused = true)]
async fn a_used_up_quota_closes_the_bucket_until_its_reset() {
    let (sends, mut service) = throttle(rate("10/s", 10));
    let start = Instant::now();
    answered(&sends, &mut service, 200, &[("ratelimit", "\"d\";r=0;t=7")]).await;
    assert_eq!(service.partition().closed_until(), Some(start + sec(7)));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_was_overtaken_only_lowers_what_is_left() {
    let (sends, mut service) = throttle(rate("10/s", 10));
    for headers in [
        ("ratelimit", "\"d\";r=4;t=20"),
        ("ratelimit", "\"d\";r=9;t=21"),
    ] {
        sends.answer(200, &[headers]);
    }
    let mut calls: Vec<_> = (0..2)
        .map(|id| ready_call(&mut service, request(id)))
        .collect();
    for call in &mut calls {
        call.await.unwrap();
    }
    let start = Instant::now();
    for id in 2..4 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    assert_eq!(start.elapsed(), sec(5));
    // A new window counts as it is.
    answered(
        &sends,
        &mut service,
        200,
        &[("ratelimit", "\"d\";r=100;t=50")],
    )
    .await;
    let start = Instant::now();
    for id in 2..4 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    assert!(start.elapsed() <= sec(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_comes_to_a_closed_bucket_leaves_over_the_whole_jitter() {
    let mut medians = Vec::new();
    for _ in 0..9 {
        let (sends, mut service) = throttle(rate("10000/s", 1000));
        let opens = Instant::now() + sec(5);
        service.partition().close_until(opens);
        let calls: Vec<_> = (0..101)
            .map(|id| tokio::spawn(ready_call(&mut service, request(id))))
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert!(sends.all().is_sorted());
        medians.push(sends.all()[50].1 - opens);
    }
    let (least, most) = (Duration::from_millis(250), Duration::from_millis(750));
    assert!(
        medians.iter().all(|at| (least..most).contains(at)),
        "{medians:?}"
    );
}
