//! How the throttle reacts to what a server says about waiting.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{num::NonZeroU32, time::Duration};

use courteous_core::{Gate, Refusal, RejectReason, Rejected, find_cause};
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

/// What is left of a quota that names nothing, and when it is reset.
fn left<'a>(remaining: &'a str, reset: &'a str) -> [(&'static str, &'a str); 2] {
    [
        ("x-ratelimit-remaining", remaining),
        ("x-ratelimit-reset", reset),
    ]
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
async fn a_refusal_without_a_gate_is_handed_on_as_it_was_read_and_nothing_else_is() {
    let (sends, mut service) = throttle(rate("100/s", 10));
    let (other, at_once) = ([("x-other", "1")], [("retry-after", "0")]);
    let refused = |pause| Some(Refusal::new(pause));
    let cases = [
        (429, other, refused(None)),
        (503, at_once, refused(Some(Duration::ZERO))),
        (503, other, None),
        (404, other, None),
        (200, at_once, None),
    ];
    for (status, headers, expected) in cases {
        let response = answered(&sends, &mut service, status, &headers).await;
        let extensions = response.extensions();
        assert_eq!(extensions.get::<Refusal>().copied(), expected, "{status}");
        assert_eq!(
            extensions.len(),
            usize::from(expected.is_some()),
            "{status}"
        );
    }
    let response = answered(&sends, &mut service, 503, &[("retry-after", "5")]).await;
    assert!(response.extensions().get::<Gate>().is_some());
    assert_eq!(
        response.extensions().get::<Refusal>(),
        None,
        "the gate says it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_names_its_pause_closes_the_bucket_whatever_its_status() {
    for status in [400, 403, 404, 413, 418, 500, 502, 529] {
        let (sends, mut service) = throttle(rate("100/s", 10));
        let start = Instant::now();
        let response = answered(&sends, &mut service, status, &[("retry-after", "5")]).await;
        assert!(response.extensions().get::<Gate>().is_some(), "{status}");
        let closed = service.partition().closed_until();
        assert_eq!(closed, Some(start + sec(5)), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_quota_is_why_a_403_refuses() {
    for (status, refuses) in [(403, true), (418, true), (404, false), (500, false)] {
        let (sends, mut service) = throttle(rate("100/s", 10));
        let start = Instant::now();
        // Longer than a quota may close the bucket if its response is no refusal.
        let response = answered(&sends, &mut service, status, &left("0", "900")).await;
        let pause = if refuses { 900 } else { 300 };
        let closed = service.partition().closed_until();
        assert_eq!(closed, Some(start + sec(pause)), "{status}");
        assert_eq!(
            response.extensions().get::<Gate>().is_some(),
            refuses,
            "{status}"
        );
        let (sends, mut service) = throttle(rate("100/s", 10));
        answered(&sends, &mut service, status, &left("4990", "50")).await;
        assert_eq!(service.partition().closed_until(), None, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_whose_rest_is_unknown_closes_the_bucket_after_a_429_only() {
    for status in [403, 500, 503, 429] {
        let (sends, mut service) = throttle(rate("100/s", 10));
        let unknown = [("anthropic-ratelimit-unified-reset", "3200")];
        answered(&sends, &mut service, status, &unknown).await;
        let is_closed = service.partition().closed_until().is_some();
        assert_eq!(is_closed, status == 429, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_refusals_that_are_heeded_close_the_bucket() {
    for (status, heeded) in [(429, true), (403, true), (503, false)] {
        let sends = Sends::default();
        let layer = ThrottleLayer::new(rate("100/s", 10)).with_refusals(|status| status != 503);
        let mut service = layer.layer(sends.clone());
        let response = answered(&sends, &mut service, status, &[("retry-after", "5")]).await;
        let is_closed = service.partition().closed_until().is_some();
        assert_eq!(is_closed, heeded, "{status}");
        assert_eq!(
            response.extensions().get::<Gate>().is_some(),
            heeded,
            "{status}"
        );
    }
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
        Some(start + sec(24 * 60 * 60))
    );
    // A retry is told the whole pause, and stops.
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
    // Later calls stand behind.
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
    // The bucket is closed for longer while all calls wait: each draws again.
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
async fn a_call_with_a_retry_outside_is_rejected_by_a_closed_bucket_at_once() {
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
    // A call that already waited is rejected, too.
    assert!(queued.is_woken() && !patient.is_woken());
    for mut call in [queued, task::spawn(ready_call(&mut service, retried(3, 2)))] {
        let error = assert_ready_err!(call.poll());
        let rejected = rejected(&error);
        assert_eq!(rejected.reason(), RejectReason::Paused);
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
    assert_eq!(rejected(&error).reason(), RejectReason::Paused);
    assert_eq!(sends.all().len(), 1);
    time::sleep(sec(6)).await;
    assert!(plain.is_woken());
    assert_ready_ok!(plain.poll());
}

#[tokio::test(start_paused = true)]
async fn a_closed_bucket_rejects_those_who_cannot_wait_that_long() {
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
    assert_eq!(rejected(&error).reason(), RejectReason::Paused);
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_would_run_out_is_spread_over_the_time_that_is_left() {
    let (sends, mut service) = throttle(rate("10/s", 10));
    answered(&sends, &mut service, 200, &left("10", "20")).await;
    let start = Instant::now();
    for id in 1..=10 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    // Two seconds for each call, and the first at once.
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
    answered(&sends, &mut service, 200, &left("1000", "10")).await;
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
    answered(&sends, &mut service, 200, &left("0", "7")).await;
    assert_eq!(service.partition().closed_until(), Some(start + sec(7)));
    let long = throttle(rate("10/s", 10));
    let (sends, mut service) = long;
    answered(&sends, &mut service, 200, &left("0", "7200")).await;
    let cap = Some(start + sec(5 * 60));
    assert_eq!(service.partition().closed_until(), cap, "it was no refusal");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_was_overtaken_only_lowers_what_is_left() {
    let (sends, mut service) = throttle(rate("10/s", 10));
    for headers in [left("4", "20"), left("9", "21")] {
        sends.answer(200, &headers);
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
    answered(&sends, &mut service, 200, &left("100", "50")).await;
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

/// Quotas that say what they are of. `request(id)` is for the path `/id`.
mod named {
    use courteous_throttle::{Keyed, Rate};
    use http::Request;

    use super::*;

    const SEARCH: u32 = 1;
    const CORE: u32 = 2;
    const UNKNOWN: u32 = 3;

    fn github<'a>(
        resource: &'a str,
        remaining: &'a str,
        reset: &'a str,
    ) -> [(&'static str, &'a str); 3] {
        [
            ("x-ratelimit-resource", resource),
            ("x-ratelimit-remaining", remaining),
            ("x-ratelimit-reset", reset),
        ]
    }

    /// A bucket without a rate, as in a stack whose user has set none.
    fn listener() -> (Sends, Throttle<Sends>) {
        throttle(Rate::UNLIMITED)
    }

    async fn heard(
        sends: &Sends,
        service: &mut Throttle<Sends>,
        path: u32,
        status: u16,
        headers: &[(&'static str, &str)],
    ) {
        sends.answer(status, headers);
        ready_call(service, request(path)).await.unwrap();
    }

    /// How long a call for `path` waits.
    async fn waits(service: &mut Throttle<Sends>, path: u32) -> Duration {
        let start = Instant::now();
        ready_call(service, request(path)).await.unwrap();
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_used_up_quota_holds_up_calls_that_are_known_to_count_against_it() {
        let (sends, mut service) = listener();
        heard(
            &sends,
            &mut service,
            CORE,
            200,
            &github("core", "4999", "3600"),
        )
        .await;
        heard(
            &sends,
            &mut service,
            SEARCH,
            200,
            &github("search", "0", "60"),
        )
        .await;
        for path in [CORE, UNKNOWN] {
            assert_eq!(waits(&mut service, path).await, Duration::ZERO, "{path}");
        }
        assert_eq!(service.partition().closed_until(), None);
        let waited = waits(&mut service.clone(), SEARCH).await;
        assert!(waited >= sec(60) && waited <= sec(61), "{waited:?}");
        assert_eq!(waits(&mut service, SEARCH).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn each_way_to_name_a_quota_keeps_it_apart() {
        let used_up: [&[(&str, &str)]; 5] = [
            &[
                ("x-ratelimit-bucket", "aaa1"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset-after", "40.0"),
            ],
            &[("ratelimit", "\"burst\";r=0;t=40")],
            &[("ratelimit", "\"burst\";r=0;t=40;pk=:YQ==:")],
            &[
                ("ratelimit-name", "throttle_web"),
                ("ratelimit-remaining", "0"),
                ("ratelimit-reset", "40"),
            ],
            &[(
                "zendesk-ratelimit-tickets-index",
                "total=9; remaining=0; resets=40",
            )],
        ];
        for headers in used_up {
            let (sends, mut service) = listener();
            heard(&sends, &mut service, SEARCH, 200, headers).await;
            assert_eq!(
                waits(&mut service, CORE).await,
                Duration::ZERO,
                "{headers:?}"
            );
            let waited = waits(&mut service, SEARCH).await;
            assert!(waited >= sec(40) && waited <= sec(41), "{headers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_of_one_policy_are_apart() {
        let (sends, mut service) = listener();
        let of = |pk| format!("\"burst\";r=5;t=40;pk={pk}");
        heard(
            &sends,
            &mut service,
            CORE,
            200,
            &[("ratelimit", &of(":Yg==:"))],
        )
        .await;
        let used_up = [("ratelimit", "\"burst\";r=0;t=40;pk=:YQ==:")];
        heard(&sends, &mut service, SEARCH, 200, &used_up).await;
        assert_eq!(waits(&mut service, CORE).await, Duration::ZERO);
        assert!(waits(&mut service, SEARCH).await >= sec(40));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_counts_against_several_quotas_waits_for_the_last() {
        let (sends, mut service) = listener();
        let used_up = [(
            "ratelimit",
            "\"burst\";r=0;t=5, \"daily\";r=0;t=90, \"other\";r=3;t=200",
        )];
        heard(&sends, &mut service, SEARCH, 200, &used_up).await;
        let daily = [("ratelimit", "\"daily\";r=1;t=90")];
        heard(&sends, &mut service, CORE, 200, &daily).await;
        let mut search = task::spawn(ready_call(&mut service, request(SEARCH)));
        assert_pending!(search.poll());
        assert!(waits(&mut service, CORE).await >= sec(90));
        time::sleep(sec(1)).await;
        assert_ready_ok!(search.poll());
    }

    #[tokio::test(start_paused = true)]
    async fn quotas_of_two_origins_are_apart_in_one_bucket() {
        let (sends, mut service) = listener();
        let to = |host: &str| Request::get(format!("http://{host}/1")).body(()).unwrap();
        for (host, remaining) in [("a.test", "0"), ("b.test", "9")] {
            sends.answer(200, &github("core", remaining, "60"));
            ready_call(&mut service, to(host)).await.unwrap();
        }
        let start = Instant::now();
        ready_call(&mut service, to("b.test")).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        ready_call(&mut service, to("A.test")).await.unwrap();
        assert!(start.elapsed() >= sec(60));
    }

    #[tokio::test(start_paused = true)]
    async fn quotas_of_two_keys_are_apart() {
        let sends = Sends::default();
        let key_of = |head: courteous_core::RequestView<'_>| head.headers().contains_key("key");
        let keyed = Keyed::new(Bucket::new(Rate::UNLIMITED), key_of);
        let mut service = ThrottleLayer::of(keyed).layer(sends.clone());
        sends.answer(200, &github("core", "0", "60"));
        ready_call(&mut service, request(CORE)).await.unwrap();
        let mut other = request(CORE);
        other.headers_mut().insert("key", "b".parse().unwrap());
        assert_ready_ok!(task::spawn(ready_call(&mut service, other)).poll());
        assert_pending!(task::spawn(ready_call(&mut service, request(CORE))).poll());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_for_a_named_quota_holds_up_all_but_what_counts_elsewhere() {
        for headers in [
            &github("search", "0", "60")[..],
            &[("retry-after", "60"), ("ratelimit", "\"search\";r=0;t=60")],
        ] {
            let (sends, mut service) = listener();
            heard(
                &sends,
                &mut service,
                CORE,
                200,
                &github("core", "4999", "3600"),
            )
            .await;
            heard(&sends, &mut service, SEARCH, 429, headers).await;
            assert_eq!(waits(&mut service, CORE).await, Duration::ZERO);
            for path in [SEARCH, UNKNOWN] {
                let call = task::spawn(ready_call(&mut service, retried(path, 1))).poll();
                let gate = rejected(&assert_ready_err!(call)).gate().unwrap();
                let wait = gate.opens_at() - Instant::now();
                assert!(wait >= sec(60) && wait <= sec(61), "{path}: {wait:?}");
            }
        }
    }

    // GitHub's secondary limits: the primary quota is named, and some of it is left.
    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_no_named_quota_explains_closes_the_bucket() {
        let (sends, mut service) = listener();
        let start = Instant::now();
        heard(
            &sends,
            &mut service,
            CORE,
            200,
            &github("core", "4999", "3600"),
        )
        .await;
        let mut refusal = github("search", "20", "60").to_vec();
        refusal.push(("retry-after", "30"));
        heard(&sends, &mut service, SEARCH, 429, &refusal).await;
        assert_eq!(service.partition().closed_until(), Some(start + sec(30)));
        assert!(waits(&mut service, CORE).await >= sec(30));
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_retry_outside_a_held_up_call_is_rejected_at_once() {
        let (sends, mut service) = listener();
        heard(
            &sends,
            &mut service,
            SEARCH,
            200,
            &github("search", "0", "60"),
        )
        .await;
        let now = Instant::now();
        let call = task::spawn(ready_call(&mut service, retried(SEARCH, 1))).poll();
        let rejected = rejected(&assert_ready_err!(call));
        assert_eq!(rejected.reason(), RejectReason::Paused);
        let opens = rejected.gate().unwrap().opens_at();
        assert!(opens >= now + sec(60) && opens <= now + sec(61));
        assert_ready_ok!(task::spawn(ready_call(&mut service, retried(CORE, 1))).poll());
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_up_call_that_cannot_wait_is_rejected_at_once() {
        let sends = Sends::default();
        let bucket = Bucket::new(Rate::UNLIMITED).with_jitter(Duration::ZERO);
        let layer = ThrottleLayer::from(bucket.clone());
        let mut service = layer.clone().layer(sends.clone());
        heard(
            &sends,
            &mut service,
            SEARCH,
            200,
            &github("search", "0", "60"),
        )
        .await;
        let rejected = |layer: ThrottleLayer| {
            let mut service = layer.layer(sends.clone());
            let call = task::spawn(ready_call(&mut service, request(SEARCH))).poll();
            rejected(&assert_ready_err!(call))
        };
        let now = Instant::now();
        let expected = |reason| Rejected::new(reason).with_wait(now, sec(60));
        let too_long = layer.clone().with_max_wait(sec(59));
        assert_eq!(rejected(too_long), expected(RejectReason::MaxWait));
        let failing = layer.clone().fail_fast();
        assert_eq!(rejected(failing), expected(RejectReason::Paused));
        let mut waiting = task::spawn(ready_call(&mut service, request(SEARCH)));
        assert_pending!(waiting.poll());
        assert_eq!(bucket.waiting(), 1);
        let full = layer.with_max_waiting(1);
        assert_eq!(rejected(full), expected(RejectReason::QueueFull));
        drop(waiting);
        assert_eq!(bucket.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_that_is_used_up_for_longer_meanwhile_holds_its_waiters_up_again() {
        let (sends, mut service) = listener();
        heard(
            &sends,
            &mut service,
            SEARCH,
            200,
            &github("search", "0", "60"),
        )
        .await;
        heard(
            &sends,
            &mut service,
            CORE,
            200,
            &github("search", "9", "60"),
        )
        .await;
        let waiting = tokio::spawn(ready_call(&mut service, request(SEARCH)));
        time::sleep(sec(30)).await;
        let start = Instant::now();
        heard(
            &sends,
            &mut service,
            UNKNOWN,
            200,
            &github("search", "0", "200"),
        )
        .await;
        waiting.await.unwrap().unwrap();
        assert!(start.elapsed() >= sec(200) && start.elapsed() <= sec(201));
        assert_eq!(service.partition().waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queued_call_is_not_sent_once_its_quota_is_used_up() {
        let (sends, mut service) = throttle(rate("1/s", 1));
        heard(
            &sends,
            &mut service,
            SEARCH,
            200,
            &github("search", "0", "0"),
        )
        .await;
        sends.answer(200, &github("search", "0", "60"));
        let mut first = task::spawn(ready_call(&mut service, request(UNKNOWN)));
        let mut plain = task::spawn(ready_call(&mut service, request(SEARCH)));
        let mut with_retry = task::spawn(ready_call(&mut service, retried(SEARCH, 1)));
        let mut core = task::spawn(ready_call(&mut service, request(CORE)));
        for call in [&mut first, &mut plain, &mut with_retry, &mut core] {
            assert_pending!(call.poll());
        }
        assert_eq!(service.partition().waiting(), 4);
        time::sleep(sec(1)).await;
        assert_ready_ok!(first.poll());
        time::sleep(sec(1)).await;
        assert!(plain.is_woken());
        assert_pending!(plain.poll());
        // The token of `plain` goes to `with_retry`, which is rejected, and so to `core`.
        time::sleep(Duration::from_millis(10)).await;
        assert!(with_retry.is_woken());
        let rejected = rejected(&assert_ready_err!(with_retry.poll()));
        assert_eq!(rejected.reason(), RejectReason::Paused);
        time::sleep(Duration::from_millis(10)).await;
        assert!(core.is_woken());
        assert_ready_ok!(core.poll());
        assert_eq!((sends.all().len(), service.partition().waiting()), (3, 1));
        time::sleep(sec(62)).await;
        assert!(plain.is_woken());
        assert_ready_ok!(plain.poll());
        sends.assert_bound(1, 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_no_quota_paces_unless_that_is_asked_for() {
        let quotas = [&left("10", "20")[..], &github("core", "10", "20")];
        for headers in quotas {
            let (sends, mut service) = listener();
            heard(&sends, &mut service, CORE, 200, headers).await;
            for _ in 0..10 {
                assert_eq!(waits(&mut service, CORE).await, Duration::ZERO);
            }
            let sends = Sends::default();
            let layer = ThrottleLayer::new(Rate::UNLIMITED).with_pacing();
            let mut service = layer.layer(sends.clone());
            heard(&sends, &mut service, CORE, 200, headers).await;
            let start = Instant::now();
            for _ in 0..10 {
                ready_call(&mut service, request(CORE)).await.unwrap();
            }
            assert_eq!(start.elapsed(), sec(18), "{headers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn at_a_rate_a_quota_paces_unless_that_is_turned_off() {
        for headers in [&left("2", "20")[..], &github("core", "2", "20")] {
            for (paced, layer) in [
                (true, ThrottleLayer::new(rate("1000/s", 10))),
                (
                    false,
                    ThrottleLayer::new(rate("1000/s", 10)).without_pacing(),
                ),
            ] {
                let sends = Sends::default();
                let mut service = layer.layer(sends.clone());
                heard(&sends, &mut service, CORE, 200, headers).await;
                waits(&mut service, CORE).await;
                let waited = waits(&mut service, CORE).await;
                assert_eq!(waited, if paced { sec(10) } else { Duration::ZERO });
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_named_quota_paces_those_that_count_against_it_in_their_order() {
        let (sends, mut service) = throttle(rate("1000/s", 10));
        heard(
            &sends,
            &mut service,
            SEARCH,
            200,
            &github("search", "10", "20"),
        )
        .await;
        let start = Instant::now();
        let mut calls: Vec<_> = (0..10)
            .map(|_| Some(tokio::spawn(ready_call(&mut service, request(SEARCH)))))
            .collect();
        for _ in 0..5 {
            assert_eq!(waits(&mut service, CORE).await, Duration::ZERO);
        }
        assert_eq!(service.partition().waiting(), 9);
        // The turn of the last call goes to a call that comes later.
        let last = calls.pop().unwrap().unwrap();
        last.abort();
        assert!(last.await.is_err());
        calls.push(Some(tokio::spawn(ready_call(
            &mut service,
            request(SEARCH),
        ))));
        for (n, call) in calls.iter_mut().enumerate() {
            call.take().unwrap().await.unwrap().unwrap();
            assert_eq!(start.elapsed(), sec(2) * n as u32);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_does_not_let_a_new_call_overtake_those_that_wait_for_their_turns() {
        let (sends, mut service) = throttle(rate("1000/s", 10));
        heard(
            &sends,
            &mut service,
            SEARCH,
            200,
            &github("search", "10", "20"),
        )
        .await;
        let start = Instant::now();
        // Each answer tells what is left, while four wait.
        for (remaining, reset) in [
            ("9", "20"),
            ("8", "18"),
            ("7", "16"),
            ("6", "14"),
            ("5", "12"),
        ] {
            sends.answer(200, &github("search", remaining, reset));
        }
        let calls: Vec<_> = (0..5)
            .map(|_| tokio::spawn(ready_call(&mut service, request(SEARCH))))
            .collect();
        time::sleep(sec(1)).await;
        assert_eq!((sends.all().len(), service.partition().waiting()), (2, 4));
        ready_call(&mut service, request(SEARCH)).await.unwrap();
        let (waited, sent) = (start.elapsed(), sends.all());
        assert!(waited >= sec(10) && waited <= sec(12), "{waited:?}");
        assert_eq!(sent.len(), 7);
        assert!(calls.iter().all(|call| call.is_finished()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paced_call_that_cannot_wait_is_rejected_at_once() {
        let sends = Sends::default();
        let layer = ThrottleLayer::new(rate("1000/s", 10));
        let mut service = layer.clone().with_max_wait(sec(5)).layer(sends.clone());
        heard(
            &sends,
            &mut service,
            SEARCH,
            200,
            &github("search", "2", "20"),
        )
        .await;
        assert_eq!(waits(&mut service, SEARCH).await, Duration::ZERO);
        let now = Instant::now();
        for (service, reason) in [
            (&mut service, RejectReason::MaxWait),
            (
                &mut layer.fail_fast().layer(sends.clone()),
                RejectReason::AtCapacity,
            ),
        ] {
            let call = task::spawn(ready_call(service, request(SEARCH))).poll();
            let expected = Rejected::new(reason).with_wait(now, sec(10));
            assert_eq!(rejected(&assert_ready_err!(call)), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_quotas_in_one_response_those_used_up_are_heard() {
        let (sends, mut service) = listener();
        let many: Vec<_> = (0..12).map(|n| format!("\"p{n}\";r=9;t=60")).collect();
        let value = format!("{}, \"last\";r=0;t=60", many.join(", "));
        heard(&sends, &mut service, SEARCH, 200, &[("ratelimit", &value)]).await;
        assert!(waits(&mut service, SEARCH).await >= sec(60));
    }
}

mod long_pauses {
    use super::*;

    const HOURS: Duration = sec(2 * 60 * 60);

    /// Tries a call every 20 s, until a call could wait for the opening.
    async fn try_until(service: &mut Throttle<Sends>, opens: Instant, attempt: Option<u32>) {
        while Instant::now() < opens - sec(40) {
            let request = match attempt {
                Some(attempt) => retried(7, attempt),
                None => request(7),
            };
            let error = ready_call(service, request).await.unwrap_err();
            let not_before = rejected(&error).not_before().unwrap();
            assert!(not_before >= opens && not_before <= opens + sec(1));
            time::sleep(sec(20)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_before_a_refusal_s_pause_of_two_hours_is_over() {
        for attempt in [Some(1), None] {
            let sends = Sends::default();
            let layer = ThrottleLayer::new(rate("100/s", 10)).with_max_wait(sec(30));
            let mut service = layer.layer(sends.clone());
            let start = Instant::now();
            answered(&sends, &mut service, 429, &[("retry-after", "7200")]).await;
            try_until(&mut service, start + HOURS, attempt).await;
            assert_eq!(sends.all().len(), 1);
            time::sleep(sec(61)).await;
            ready_call(&mut service, request(8)).await.unwrap();
            assert_eq!(sends.all().len(), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_bound_waits_for_two_hours() {
        let (sends, mut service) = throttle(rate("100/s", 10));
        let start = Instant::now();
        answered(&sends, &mut service, 503, &[("retry-after", "7200")]).await;
        ready_call(&mut service, request(1)).await.unwrap();
        assert!(start.elapsed() >= HOURS && start.elapsed() <= HOURS + sec(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_for_a_named_quota_may_last_as_long() {
        let (sends, mut service) = throttle(rate("100/s", 10));
        let start = Instant::now();
        let refusal = [("retry-after", "7200"), ("ratelimit", "\"q\";r=0;t=7200")];
        answered(&sends, &mut service, 429, &refusal).await;
        assert_eq!(service.partition().closed_until(), None);
        ready_call(&mut service, request(1)).await.unwrap();
        assert!(start.elapsed() >= HOURS && start.elapsed() <= HOURS + sec(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_caps_can_be_set() {
        let layer = || ThrottleLayer::new(rate("100/s", 10));
        let refusal = &[("retry-after", "7200")][..];
        let (used_up, start) = (left("0", "7200"), Instant::now());
        for (layer, status, headers, expected) in [
            (layer(), 429, refusal, 7_200),
            (layer(), 200, &used_up, 300),
            (layer().with_max_pause(sec(60)), 429, refusal, 60),
            (layer().with_max_pause(sec(60)), 200, &used_up, 60),
            (layer().with_max_quota_pause(sec(900)), 429, refusal, 7_200),
            (layer().with_max_quota_pause(sec(900)), 200, &used_up, 900),
        ] {
            let sends = Sends::default();
            let mut service = layer.layer(sends.clone());
            answered(&sends, &mut service, status, headers).await;
            let opens = service.partition().closed_until();
            assert_eq!(opens, Some(start + sec(expected)));
        }
    }
}
