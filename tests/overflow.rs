//! The ends of all ranges: endless and zero times, the year 9999, clocks that step back, and a
//! machine that was asleep. Also the highest number of attempts, and rates from a billion a second
//! to one in a century.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a check that fails panics"
)]

use std::{num::NonZeroU32, task::Poll, time::Duration};

use bytes::Bytes;
use courteous_backoff::{Backoff, Jitter};
use courteous_concurrency::{ConcurrencyLimitLayer, Limiter};
use courteous_core::{BoxError, Elapsed, RejectReason, Rejected, find_cause};
use courteous_retry::{Budget, MaxAttempts, RetryInfo, RetryLayer};
use courteous_testkit::{Probe, Reply, Task, TestBody};
use courteous_throttle::{Bucket, Rate, ThrottleLayer};
use courteous_timeout::{CallTimeout, TotalTimeoutLayer};
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt};
use tower_layer::Stack;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn put() -> Request<Full<Bytes>> {
    Request::put("http://api.test/")
        .body(Full::from("body"))
        .unwrap()
}

/// A call that is polled when it is made and whenever it is woken, and its result once it is there.
struct Call<F: Future> {
    task: Task<F>,
    end: Option<F::Output>,
}

impl<F: Future> Call<F> {
    fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// Polls as often as possible now. Returns whether the call is over.
    async fn settle(&mut self) -> bool {
        if self.end.is_none()
            && let Poll::Ready(end) = self.task.settle().await
        {
            self.end = Some(end);
        }
        self.is_over()
    }
}

/// Waits until `service` is ready, and calls it.
async fn call<S>(service: &S) -> Call<impl Future<Output = Result<S::Response, S::Error>> + use<S>>
where
    S: Service<Request<Full<Bytes>>> + Clone,
{
    let task = Task::new(service.clone().oneshot(put()));
    let mut call = Call { task, end: None };
    call.settle().await;
    call
}

async fn calls<S>(
    service: &S,
    count: usize,
) -> Vec<Call<impl Future<Output = Result<S::Response, S::Error>> + use<S>>>
where
    S: Service<Request<Full<Bytes>>> + Clone,
{
    let mut calls = Vec::new();
    for _ in 0..count {
        calls.push(call(service).await);
    }
    calls
}

fn reason(error: &BoxError) -> Option<RejectReason> {
    find_cause::<Rejected>(&**error).map(Rejected::reason)
}

fn burst(burst: u32) -> NonZeroU32 {
    NonZeroU32::new(burst).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_day_of_sleep_releases_a_burst_and_no_more() {
    let rate = Rate::new(1, SECOND).unwrap().with_burst(burst(3));
    let bucket = Bucket::new(rate);
    let probe = Probe::new();
    let service = ThrottleLayer::from(bucket.clone()).layer(probe.clone());
    for _ in 0..3 {
        service.clone().oneshot(put()).await.unwrap();
    }
    let mut waiting = calls(&service, 10).await;
    assert!(waiting.iter().all(|call| !call.is_over()));
    advance(DAY).await;
    for seconds in 0..=7 {
        // Each call lets the next one in.
        for _ in 0..3 {
            for call in &mut waiting {
                call.settle().await;
            }
        }
        assert_eq!(probe.calls(), 6 + seconds, "after {seconds} s");
        // A timer is up to 2 ms late.
        sleep(SECOND + Duration::from_millis(2)).await;
    }
    drop(waiting);
    assert_eq!(bucket.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_slept_for_a_day_in_a_queue_is_rejected_or_admitted_once() {
    let limiter = Limiter::new(1).unwrap();
    let probe = Probe::new().otherwise(|_| Reply::ok().body(TestBody::new().stall()));
    let layer = ConcurrencyLimitLayer::from(limiter.clone()).with_max_wait(SECOND);
    let service = layer.layer(probe.clone());
    let held = service.clone().oneshot(put()).await.unwrap();
    let mut late = call(&service).await;
    assert!(!late.is_over());
    advance(DAY).await;
    late.settle().await;
    let Some(Err(error)) = late.end else {
        panic!("not rejected");
    };
    assert_eq!(reason(&error), Some(RejectReason::MaxWait));
    assert_eq!((limiter.in_flight(), limiter.waiting()), (1, 0));
    let mut next = call(&service).await;
    assert!(!next.is_over());
    drop(held);
    assert!(next.settle().await && matches!(next.end, Some(Ok(_))));
    assert_eq!(probe.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_slept_through_its_deadline_is_not_sent_again() {
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let backoff = Backoff::constant(SECOND).with_jitter(Jitter::None);
    let layer = Stack::new(
        RetryLayer::new().with_backoff(backoff),
        TotalTimeoutLayer::new(10 * SECOND),
    );
    let mut call = call(&layer.layer(probe.clone())).await;
    assert!(!call.settle().await);
    advance(DAY).await;
    call.settle().await;
    let Some(Err(error)) = call.end else {
        panic!("it goes on");
    };
    assert!(find_cause::<Elapsed>(&*error).is_some());
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_billion_a_second_is_a_rate_like_any_other() {
    let fast = Rate::new(1_000_000_000, SECOND).unwrap();
    for (rate, each) in [(fast, 1_000), (fast.with_burst(burst(2)), 2)] {
        let probe = Probe::new();
        let service = ThrottleLayer::new(rate).layer(probe.clone());
        let mut calls = calls(&service, 1_000).await;
        assert_eq!(probe.calls(), each);
        // Two at each tick of the timer are not many.
        for _ in 0..1_000 {
            sleep(Duration::from_millis(1)).await;
            for call in &mut calls {
                call.settle().await;
            }
        }
        assert_eq!(probe.calls(), 1_000);
    }
}

#[tokio::test(start_paused = true)]
async fn one_a_year_and_one_in_a_century_are_waited_for_to_the_end() {
    for period in [YEAR, 100 * YEAR] {
        let probe = Probe::new();
        let service = ThrottleLayer::new(Rate::new(1, period).unwrap()).layer(probe.clone());
        service.clone().oneshot(put()).await.unwrap();
        let start = Instant::now();
        let mut second = call(&service).await;
        advance(period - DAY).await;
        assert!(!second.settle().await);
        while !second.settle().await {
            sleep(DAY / 8).await;
            assert!(start.elapsed() <= period + DAY);
        }
        assert!(probe.instants()[1] >= start + period);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_may_be_closed_for_a_millennium() {
    let bucket = Bucket::new(Rate::UNLIMITED).with_jitter(Duration::MAX);
    let opens = Instant::now() + 1_000 * YEAR;
    bucket.close_until(opens);
    bucket.close_until(Instant::now() + SECOND);
    let probe = Probe::new();
    let layer = ThrottleLayer::from(bucket.clone());
    let mut patient = call(&layer.clone().layer(probe.clone())).await;
    assert!(!patient.settle().await);
    let service = layer.with_max_wait(1_000_000 * SECOND).layer(probe.clone());
    let rejected = call(&service).await.end.expect("rejected").unwrap_err();
    assert_eq!(reason(&rejected), Some(RejectReason::MaxWait));
    advance(DAY).await;
    assert!(!patient.settle().await);
    assert_eq!(bucket.closed_until(), Some(opens));
    drop(patient);
    assert_eq!((bucket.waiting(), probe.calls()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_all_time_closes_its_bucket_up_to_the_cap() {
    for cap in [SECOND, Duration::MAX] {
        let refusal = Reply::status(429).header("retry-after", "99999999999999999999");
        let probe = Probe::new().replies([refusal]);
        let bucket = Bucket::new(Rate::UNLIMITED);
        let layer = ThrottleLayer::from(bucket.clone()).with_max_pause(cap);
        let service = layer.layer(probe.clone());
        let start = Instant::now();
        service.clone().oneshot(put()).await.unwrap();
        let opens = bucket.closed_until().expect("closed");
        assert!(opens > start && (cap == Duration::MAX || opens <= start + cap));
        let mut next = call(&service).await;
        assert!(!next.settle().await);
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_permits_as_can_be_counted_can_be_given() {
    let limiter = Limiter::new(1).unwrap();
    let probe = Probe::new().otherwise(|_| Reply::ok().body(TestBody::new().stall()));
    let layer = ConcurrencyLimitLayer::from(limiter.clone()).with_max_wait(Duration::MAX);
    let service = layer.layer(probe.clone());
    let mut calls = calls(&service, 100).await;
    assert_eq!((limiter.in_flight(), limiter.waiting()), (1, 99));
    limiter.set_limit(usize::MAX).unwrap();
    for call in &mut calls {
        assert!(call.settle().await);
    }
    assert_eq!((limiter.in_flight(), limiter.waiting()), (100, 0));
    drop(calls);
    assert_eq!(limiter.in_flight(), 0);
    let impatient = ConcurrencyLimitLayer::from(limiter).with_max_wait(Duration::ZERO);
    assert!(impatient.layer(probe).oneshot(put()).await.is_ok());
}

/// A retry that ends only by the number of its attempts.
fn endless(backoff: Backoff) -> RetryLayer {
    RetryLayer::new()
        .with_max_attempts(u32::MAX)
        .unwrap()
        .with_budget(Budget::unlimited())
        .with_max_wait(Duration::MAX)
        .with_backoff(backoff)
}

#[tokio::test(start_paused = true)]
async fn attempts_without_end_end_with_a_success() {
    for backoff in [
        Backoff::constant(Duration::ZERO),
        Backoff::linear(Duration::from_millis(1)),
        Backoff::exponential(Duration::from_millis(1)),
    ] {
        let replies = (0..2_000).map(|_| Reply::status(503));
        let service = endless(backoff).layer(Probe::new().replies(replies));
        let mut request = put();
        request
            .extensions_mut()
            .insert(MaxAttempts::new(u32::MAX).unwrap());
        let response: Response<_> = service.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(RetryInfo::of(&response).attempts(), 2_001);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_end_is_not_begun_and_a_long_one_is() {
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let waiting = |wait| endless(Backoff::constant(wait).with_jitter(Jitter::None));
    let mut call = call(&waiting(10 * YEAR).layer(probe.clone())).await;
    advance(YEAR).await;
    assert!(!call.settle().await);
    // An attempt that cannot end in time is not begun: the server's answer is returned at once.
    let start = Instant::now();
    for (wait, deadline) in [(Duration::MAX, Duration::MAX), (10 * YEAR, 9 * YEAR)] {
        let layer = Stack::new(waiting(wait), TotalTimeoutLayer::new(deadline));
        let response = layer.layer(probe.clone()).oneshot(put()).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(RetryInfo::of(&response).attempts(), 1);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(probe.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_have_all_the_time_or_none() {
    let probe = Probe::new().otherwise(|_| Reply::ok().after(YEAR));
    let service = TotalTimeoutLayer::new(SECOND).layer(probe.clone());
    for (timeout, succeeds) in [(Duration::MAX, true), (Duration::ZERO, false)] {
        let mut request = put();
        request.extensions_mut().insert(CallTimeout(timeout));
        assert_eq!(service.clone().oneshot(request).await.is_ok(), succeeds);
    }
    assert_eq!(probe.calls(), 1);
}

/// How long after the first attempt the second was sent, if it was sent. The first got a 503 with
/// these fields.
async fn second_attempt(fields: &[(&'static str, &'static str)]) -> Option<Duration> {
    let refusal = fields
        .iter()
        .fold(Reply::status(503), |reply, (name, value)| {
            reply.header(name, value)
        });
    let probe = Probe::new().replies([refusal]);
    let backoff = Backoff::constant(SECOND).with_jitter(Jitter::None);
    let layer = RetryLayer::new()
        .with_backoff(backoff)
        .with_throttled_backoff(backoff);
    let start = Instant::now();
    layer.layer(probe.clone()).oneshot(put()).await.unwrap();
    (probe.calls() > 1).then(|| start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_back_makes_no_wait_of_a_date_that_has_passed() {
    let date = ("date", "Thu, 26 Mar 2026 16:00:00 GMT");
    let passed = ("retry-after", "Thu, 26 Mar 2026 15:00:00 GMT");
    let wait = second_attempt(&[date, passed])
        .await
        .expect("no second attempt");
    assert!(wait <= 2 * SECOND, "{wait:?}");
    // The server's clock is years behind ours, or before 1970: only the difference of the two dates
    // counts.
    for (date, retry_after) in [
        (
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "Thu, 01 Jan 1970 00:00:10 GMT",
        ),
        (
            "Sat, 01 Jan 0000 00:00:00 GMT",
            "Sat, 01 Jan 0000 00:00:10 GMT",
        ),
        (
            "Mon, 01 Jan 9990 00:00:00 GMT",
            "Mon, 01 Jan 9990 00:00:10 GMT",
        ),
    ] {
        let wait = second_attempt(&[("date", date), ("retry-after", retry_after)]).await;
        let wait = wait.expect("no second attempt");
        assert!((10 * SECOND..=12 * SECOND).contains(&wait), "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_second_of_the_year_9999_is_a_date() {
    for last in [
        "Thu, 30 Dec 9999 21:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri Dec 31 23:59:59 9999",
    ] {
        // Never, as some servers spell it: the call ends with the answer that it has.
        assert_eq!(
            second_attempt(&[("retry-after", last)]).await,
            None,
            "{last}"
        );
        let date = ("date", "Fri, 31 Dec 9999 00:00:00 GMT");
        let wait = second_attempt(&[date, ("retry-after", "Fri, 31 Dec 9999 00:00:10 GMT")]).await;
        assert!(wait >= Some(10 * SECOND), "{wait:?}");
    }
}
