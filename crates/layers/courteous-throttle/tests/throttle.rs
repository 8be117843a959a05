//! The guarantees of the throttle, through its public interface.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    num::NonZeroU32,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use courteous_core::{CallContext, RejectReason, Rejected, Sent, find_cause};
use courteous_testkit::Chance;
use courteous_throttle::{Bucket, Cost, Rate, ThrottleLayer};
use http::{Request, Response};
use support::{Sends, ready_call, request, retried, sec};
use tokio::{
    runtime::Builder,
    time::{self, Instant},
};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::Layer;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn burst(text: &str, burst: u32) -> Rate {
    rate(text).with_burst(NonZeroU32::new(burst).unwrap())
}

fn rejected(error: &courteous_core::BoxError) -> Rejected {
    *find_cause(&**error).unwrap()
}

#[tokio::test(start_paused = true)]
async fn calls_are_sent_at_the_rate_in_the_order_in_which_they_were_made() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("10/s")).layer(sends.clone());
    let start = Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|id| tokio::spawn(ready_call(&mut service, request(id))))
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let expected: Vec<_> = (0..20)
        .map(|id| (id, start + Duration::from_millis(100) * id))
        .collect();
    assert_eq!(sends.all(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_response_says_when_its_request_was_sent_if_that_was_later_than_the_call() {
    let mut service = ThrottleLayer::new(rate("1/s")).layer(Sends::default());
    let start = Instant::now();
    let first = tokio::spawn(ready_call(&mut service, request(0)));
    let second = tokio::spawn(ready_call(&mut service, request(1)));
    let sent = |response: Response<()>| response.extensions().get::<Sent>().map(Sent::at);
    assert_eq!(sent(first.await.unwrap().unwrap()), None);
    let second = sent(second.await.unwrap().unwrap());
    assert_eq!(second, Some(start + Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_full_bucket_may_be_spent_at_once() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(burst("2/s", 3)).layer(sends.clone());
    for id in 0..3 {
        assert_ready_ok!(task::spawn(ready_call(&mut service, request(id))).poll());
    }
    let mut waiting = task::spawn(ready_call(&mut service, request(3)));
    assert_pending!(waiting.poll());
    time::sleep(Duration::from_millis(499)).await;
    assert!(!waiting.is_woken());
    time::sleep(Duration::from_millis(1)).await;
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
}

#[tokio::test(start_paused = true)]
async fn an_idle_month_earns_one_burst() {
    let bucket = Bucket::new(burst("2/s", 3));
    assert_eq!(bucket.available(), 3);
    time::advance(sec(30 * 24 * 60 * 60)).await;
    assert_eq!(bucket.available(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_third_of_a_token_a_second_never_drifts() {
    let sends = Sends::default();
    let rate = Rate::new(3, sec(1))
        .unwrap()
        .with_burst(NonZeroU32::new(2).unwrap());
    let mut service = ThrottleLayer::new(rate).layer(sends.clone());
    let start = Instant::now();
    for id in 0..3002 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    // Each send is up to a millisecond late, as the timer is. The schedule is not late.
    let last = sends.all()[3001].1 - start;
    assert!(
        last >= sec(1000) && last < sec(1000) + Duration::from_millis(2),
        "{last:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_gives_its_place_to_the_next() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("1/s")).layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    let mut first = task::spawn(ready_call(&mut service, request(1)));
    let mut second = task::spawn(ready_call(&mut service, request(2)));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    time::sleep(Duration::from_millis(500)).await;
    drop(first);
    assert!(!second.is_woken());
    time::sleep(Duration::from_millis(500)).await;
    assert!(second.is_woken());
    assert_ready_ok!(second.poll());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_dropped_after_it_was_woken_gives_its_token_to_the_next() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("1/s")).layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    let mut first = task::spawn(ready_call(&mut service, request(1)));
    let mut second = task::spawn(ready_call(&mut service, request(2)));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    time::sleep(sec(1)).await;
    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll());
}

#[tokio::test(start_paused = true)]
async fn a_woken_waiter_that_is_not_polled_delays_nobody_but_itself() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("1/s")).layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    let mut parked = task::spawn(ready_call(&mut service, request(1)));
    assert_pending!(parked.poll());
    let mut others: Vec<_> = (2..5)
        .map(|id| task::spawn(ready_call(&mut service, request(id))))
        .collect();
    for other in &mut others {
        assert_pending!(other.poll());
    }
    let start = Instant::now();
    for (i, other) in (2..).zip(&mut others) {
        time::sleep_until(start + sec(i)).await;
        assert!(other.is_woken());
        assert_ready_ok!(other.poll());
    }
    // The waiter goes before all younger ones, at the next token.
    let mut younger = task::spawn(ready_call(&mut service, request(9)));
    assert_pending!(younger.poll());
    assert_pending!(parked.poll());
    time::sleep(sec(1)).await;
    assert!(parked.is_woken() && !younger.is_woken());
    assert_ready_ok!(parked.poll());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiters_that_are_polled_late_do_not_leave_in_a_burst() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(burst("100/s", 5)).layer(sends.clone());
    let mut calls: Vec<_> = (0..1000)
        .map(|id| task::spawn(ready_call(&mut service, request(id))))
        .collect();
    calls.retain_mut(|call| call.poll().is_pending());
    assert_eq!(calls.len(), 995);
    time::sleep(sec(60)).await;
    while !calls.is_empty() {
        calls.retain_mut(|call| !call.is_woken() || call.poll().is_pending());
        time::sleep(Duration::from_millis(1)).await;
    }
    sends.assert_bound(5, 100.0);
    let order: Vec<_> = sends.all().iter().map(|(id, _)| *id).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn of_a_thousand_waiters_a_random_half_may_leave() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(burst("1000/s", 10)).layer(sends.clone());
    let start = Instant::now();
    let mut chance = Chance::new(7);
    let mut calls = Vec::new();
    for id in 0..1000 {
        let call = ready_call(&mut service, request(id));
        let (keep, patience) = (chance.one_in(2), chance.time(sec(1)));
        calls.push((
            id,
            keep,
            tokio::spawn(async move {
                match keep {
                    true => call.await.is_ok(),
                    false => time::timeout(patience, call).await.is_ok(),
                }
            }),
        ));
    }
    let mut sent = 0;
    for (_, keep, call) in calls {
        let done = call.await.unwrap();
        assert!(done || !keep);
        sent += usize::from(done);
    }
    assert_eq!(sends.all().len(), sent);
    sends.assert_bound(10, 1000.0);
    // Waiters that left were not waited for.
    assert!(start.elapsed() <= Duration::from_millis(sent as u64 + 2));
    assert_eq!(service.partition().waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_waiters_are_each_woken_once_and_in_order() {
    const WAITERS: u32 = 100_000;
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(burst("20000/s", 200)).layer(sends.clone());
    let polls = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let calls: Vec<_> = (0..WAITERS)
        .map(|id| {
            let mut call = Box::pin(ready_call(&mut service, request(id)));
            let polls = Arc::clone(&polls);
            tokio::spawn(std::future::poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                call.as_mut().poll(cx)
            }))
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let took = start.elapsed().as_secs_f64();
    assert!(polls.load(Ordering::Relaxed) <= 2 * WAITERS as usize);
    let all = sends.all();
    assert!(all.is_sorted());
    sends.assert_bound(200, 20_000.0);
    let ideal = f64::from(WAITERS - 200) / 20_000.0;
    assert!(took <= ideal * 1.001, "{took} s instead of {ideal} s");
}

#[test]
fn a_hundred_clones_on_eight_threads_share_one_bucket() {
    let sends = Sends::default();
    let layer = ThrottleLayer::new(burst("2000/s", 50));
    let runtime = Builder::new_multi_thread()
        .worker_threads(8)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for id in 0..100 {
            // Half of the calls go through clones of the layer: those share the bucket, too.
            let mut service = layer.clone().layer(sends.clone());
            tasks.push(tokio::spawn(async move {
                for _ in 0..5 {
                    ready_call(&mut service, request(id)).await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(sends.all().len(), 500);
    let took = sends.all()[499].1 - sends.all()[0].1;
    assert!(took >= Duration::from_millis(450 / 2 - 5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn layers_that_were_built_apart_share_nothing() {
    let sends = Sends::default();
    let mut a = ThrottleLayer::new(rate("1/h")).layer(sends.clone());
    let mut b = ThrottleLayer::new(rate("1/h")).layer(sends.clone());
    assert_ready_ok!(task::spawn(ready_call(&mut a, request(0))).poll());
    assert_ready_ok!(task::spawn(ready_call(&mut b, request(1))).poll());
    assert_pending!(task::spawn(ready_call(&mut a, request(2))).poll());
}

#[tokio::test(start_paused = true)]
async fn one_bucket_serves_two_stacks() {
    let sends = Sends::default();
    let bucket = Bucket::new(rate("1/h"));
    let mut a = ThrottleLayer::from(bucket.clone()).layer(sends.clone());
    let mut b = ThrottleLayer::from(bucket.clone())
        .reject_with(|_| Response::new(()))
        .layer(sends.clone());
    assert_ready_ok!(task::spawn(ready_call(&mut a, request(0))).poll());
    let mut waiting = task::spawn(ready_call(&mut b, request(1)));
    assert_pending!(waiting.poll());
    assert_eq!((bucket.available(), bucket.waiting()), (0, 1));
}

#[test]
fn a_static_bucket_serves_two_runtimes_in_turn() {
    static BUCKET: LazyLock<Bucket> = LazyLock::new(|| Bucket::new(burst("200/s", 1)));
    let sends = Sends::default();
    let mut service = ThrottleLayer::from(BUCKET.clone()).layer(sends.clone());
    for turn in 0..2 {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            for id in 0..3 {
                ready_call(&mut service, request(3 * turn + id))
                    .await
                    .unwrap();
            }
        });
        // A call that is left over does no harm.
        let mut left = task::spawn(ready_call(&mut service, request(99)));
        runtime.block_on(async { assert_pending!(left.poll()) });
        drop(runtime);
        drop(left);
    }
    assert_eq!(sends.all().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn all_of_several_rates_are_kept() {
    let sends = Sends::default();
    let bucket = Bucket::new(burst("5/s", 5)).and(burst("60/m", 10));
    let mut service = ThrottleLayer::from(bucket).layer(sends.clone());
    for id in 0..100 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    sends.assert_bound(5, 5.0);
    sends.assert_bound(10, 1.0);
    let took = sends.all()[99].1 - sends.all()[0].1;
    assert_eq!(took, sec(90));
}

#[tokio::test(start_paused = true)]
async fn a_bucket_can_start_empty() {
    let sends = Sends::default();
    let bucket = Bucket::new(burst("2/s", 4)).start_empty();
    let mut service = ThrottleLayer::from(bucket).layer(sends.clone());
    let start = Instant::now();
    ready_call(&mut service, request(0)).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_smooth_bucket_has_no_burst() {
    let sends = Sends::default();
    let bucket = Bucket::new(burst("4/s", 4)).smooth();
    let mut service = ThrottleLayer::from(bucket).layer(sends.clone());
    time::sleep(sec(9)).await;
    let start = Instant::now();
    for id in 0..4 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::from_millis(750));
}

#[tokio::test(start_paused = true)]
async fn each_request_pays_its_own_cost() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(burst("1/s", 5))
        .with_cost(|head| NonZeroU32::new(head.uri().path().len() as u32).unwrap())
        .layer(sends.clone());
    let start = Instant::now();
    // `/1` costs two.
    ready_call(&mut service, request(1)).await.unwrap();
    let mut own = request(2);
    own.extensions_mut().insert(Cost::new(4));
    ready_call(&mut service, own).await.unwrap();
    assert_eq!(start.elapsed(), sec(1));
    let mut dear = request(3);
    dear.extensions_mut().insert(Cost::new(6));
    let error = assert_ready_err!(task::spawn(ready_call(&mut service, dear)).poll());
    assert_eq!(
        rejected(&error),
        Rejected::above_burst(6, 5, burst("1/s", 5))
    );
}

#[tokio::test(start_paused = true)]
async fn a_dear_call_is_not_overtaken_by_cheap_ones() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(burst("1/s", 5)).layer(sends.clone());
    let with_cost = |id, cost| {
        let mut request = request(id);
        request.extensions_mut().insert(Cost::new(cost));
        request
    };
    ready_call(&mut service, with_cost(0, 4)).await.unwrap();
    let mut dear = task::spawn(ready_call(&mut service, with_cost(1, 5)));
    let mut cheap = task::spawn(ready_call(&mut service, with_cost(2, 1)));
    assert_pending!(dear.poll());
    assert_pending!(cheap.poll());
    time::sleep(sec(4)).await;
    assert!(dear.is_woken() && !cheap.is_woken());
    // The dear call leaves, and its five tokens go to the cheap one.
    drop(dear);
    assert!(cheap.is_woken());
    assert_ready_ok!(cheap.poll());
    assert_eq!(service.partition().available(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_that_came_too_late_for_its_tokens_is_not_overtaken_by_younger_ones() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(burst("1/s", 3)).layer(sends.clone());
    let mut call = |id, cost| {
        let mut request = request(id);
        let cost = Cost::new(cost);
        request.extensions_mut().insert(cost);
        task::spawn(ready_call(&mut service, request))
    };
    assert_ready_ok!(call(0, 3).poll());
    let mut calls = [(1, 2), (2, 2), (3, 1)].map(|(id, cost)| call(id, cost));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    // All calls are granted their turns meanwhile, but the bucket holds no more than three tokens.
    time::sleep(sec(60)).await;
    let [first, second, third] = &mut calls;
    assert!(first.is_woken() && second.is_woken() && third.is_woken());
    assert_ready_ok!(first.poll());
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    time::sleep(sec(1)).await;
    assert!(second.is_woken() && !third.is_woken());
    assert_ready_ok!(second.poll());
    time::sleep(sec(1)).await;
    assert_ready_ok!(third.poll());
}

/// The example of `src/bucket_state.rs`.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_misses_its_grant_holds_up_no_other_and_waits_before_younger_ones() {
    let ms = Duration::from_millis;
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("10/s")).layer(sends.clone());
    let start = Instant::now();
    let mut call = |id| task::spawn(ready_call(&mut service, request(id)));
    assert_ready_ok!(call(0).poll());
    time::sleep(ms(10)).await;
    let mut calls = [1, 2, 3].map(&mut call);
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    let [b, c, d] = &mut calls;
    time::sleep(ms(90)).await;
    assert!(b.is_woken() && !c.is_woken());
    time::sleep(ms(100)).await;
    assert!(c.is_woken() && !d.is_woken());
    assert_ready_ok!(c.poll());
    time::sleep(ms(50)).await;
    assert_pending!(b.poll());
    time::sleep(ms(50)).await;
    assert!(b.is_woken() && !d.is_woken());
    assert_ready_ok!(b.poll());
    time::sleep(ms(100)).await;
    assert_ready_ok!(d.poll());
    let expected = [(0, 0), (2, 200), (1, 300), (3, 400)];
    assert_eq!(sends.all(), expected.map(|(id, at)| (id, start + ms(at))));
}

#[tokio::test(start_paused = true)]
async fn a_crowd_is_let_through_in_groups_at_the_full_rate() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(burst("10000/s", 100)).layer(sends.clone());
    let calls: Vec<_> = (0..1100)
        .map(|id| tokio::spawn(ready_call(&mut service, request(id))))
        .collect();
    let start = Instant::now();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // 25 tokens come back in 2.5 ms, and the timer counts milliseconds.
    assert!(start.elapsed() <= Duration::from_millis(103));
    let mut rings: Vec<_> = sends.all().iter().map(|(_, at)| *at).collect();
    rings.dedup();
    assert!(rings.len() <= 52, "{} rings", rings.len());
    sends.assert_bound(100, 10_000.0);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_no_time_to_lose_is_not_kept_for_a_group() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(burst("1000/s", 100))
        .with_max_wait(Duration::from_millis(3))
        .layer(sends.clone());
    for id in 0..100 {
        ready_call(&mut service, request(id)).await.unwrap();
    }
    let start = Instant::now();
    let calls = (0..3).map(|id| tokio::spawn(ready_call(&mut service, request(id))));
    let calls: Vec<_> = calls.collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let after: Vec<_> = sends.all()[100..]
        .iter()
        .map(|(_, at)| at.duration_since(start).as_millis())
        .collect();
    assert_eq!(after, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_wait_too_long_is_rejected_at_once_with_its_exact_wait() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("1/s"))
        .with_max_wait(Duration::from_millis(1500))
        .layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    let mut waiting = task::spawn(ready_call(&mut service, request(1)));
    assert_pending!(waiting.poll());
    time::sleep(Duration::from_millis(250)).await;
    let now = Instant::now();
    let error = assert_ready_err!(task::spawn(ready_call(&mut service, request(2))).poll());
    let expected = Rejected::new(RejectReason::MaxWait).with_wait(now, Duration::from_millis(1750));
    assert_eq!(rejected(&error), expected);
    // A quarter of a second later, the wait would be just short enough.
    time::sleep(Duration::from_millis(250)).await;
    let mut waiting = task::spawn(ready_call(&mut service, request(3)));
    assert_pending!(waiting.poll());
    time::sleep(Duration::from_millis(1500)).await;
    assert_ready_ok!(waiting.poll());
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_turn_comes_after_its_deadline_is_rejected_at_once() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("1/m"))
        .with_max_wait(sec(600))
        .layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    let now = Instant::now();
    let within = |id, deadline| {
        let mut request = request(id);
        CallContext::edit(request.extensions_mut()).tighten(now + deadline);
        request
    };
    let error = assert_ready_err!(
        task::spawn(ready_call(
            &mut service,
            within(1, sec(60) - Duration::from_nanos(1))
        ))
        .poll()
    );
    assert_eq!(
        rejected(&error),
        Rejected::new(RejectReason::Deadline).with_wait(now, sec(60))
    );
    assert_pending!(task::spawn(ready_call(&mut service, within(1, sec(60)))).poll());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_a_late_waiter_makes_too_long_is_rejected_when_that_happens() {
    let sends = Sends::default();
    let bucket = Bucket::new(rate("1/s"));
    let mut patient = ThrottleLayer::from(bucket.clone()).layer(sends.clone());
    let mut service = ThrottleLayer::from(bucket)
        .with_max_wait(sec(2))
        .layer(sends.clone());
    ready_call(&mut patient, request(0)).await.unwrap();
    let mut late = task::spawn(ready_call(&mut patient, request(1)));
    let mut prompt = task::spawn(ready_call(&mut patient, request(2)));
    assert_pending!(late.poll());
    assert_pending!(prompt.poll());
    time::sleep(Duration::from_millis(1500)).await;
    let mut impatient = task::spawn(ready_call(&mut service, request(3)));
    assert_pending!(impatient.poll());
    time::sleep(Duration::from_millis(500)).await;
    assert_ready_ok!(prompt.poll());
    // `late` now goes first, at 3 s. The call behind it would go at 4 s: half a second too late.
    assert_pending!(late.poll());
    assert!(impatient.is_woken());
    let error = assert_ready_err!(impatient.poll());
    assert_eq!(
        rejected(&error),
        Rejected::new(RejectReason::MaxWait).with_wait(Instant::now(), sec(2))
    );
}

#[tokio::test(start_paused = true)]
async fn the_queue_can_be_bounded() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("1/s"))
        .with_max_waiting(2)
        .layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    let mut waiting: Vec<_> = (1..3)
        .map(|id| task::spawn(ready_call(&mut service, request(id))))
        .collect();
    for waiting in &mut waiting {
        assert_pending!(waiting.poll());
    }
    let now = Instant::now();
    let error = assert_ready_err!(task::spawn(ready_call(&mut service, request(3))).poll());
    assert_eq!(
        rejected(&error),
        Rejected::new(RejectReason::QueueFull).with_wait(now, sec(3))
    );
}

#[tokio::test(start_paused = true)]
async fn failing_fast_rejects_only_when_nothing_is_there() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(burst("1/s", 10_000))
        .fail_fast()
        .layer(sends.clone());
    for id in 0..10_000 {
        assert_ready_ok!(task::spawn(ready_call(&mut service, request(id))).poll());
    }
    let error = assert_ready_err!(task::spawn(ready_call(&mut service, request(0))).poll());
    assert_eq!(
        rejected(&error),
        Rejected::new(RejectReason::AtCapacity).with_wait(Instant::now(), sec(1))
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_rate_gives_those_who_wait_a_new_turn() {
    let sends = Sends::default();
    let bucket = Bucket::new(rate("1/h"));
    let mut service = ThrottleLayer::from(bucket.clone()).layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    let mut first = task::spawn(ready_call(&mut service, request(1)));
    let mut second = task::spawn(ready_call(&mut service, request(2)));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    time::sleep(sec(1800)).await;
    bucket.set_rate(rate("1/s"));
    // Half a token was there.
    time::sleep(Duration::from_millis(499)).await;
    assert!(!first.is_woken());
    time::sleep(Duration::from_millis(1)).await;
    assert!(first.is_woken());
    assert_ready_ok!(first.poll());
    bucket.set_rate(rate("0.5/s"));
    time::sleep(Duration::from_millis(1999)).await;
    assert!(!second.is_woken());
    time::sleep(Duration::from_millis(1)).await;
    assert!(second.is_woken());
    assert_ready_ok!(second.poll());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_a_new_rate_makes_too_long_is_rejected_at_once() {
    let sends = Sends::default();
    let bucket = Bucket::new(burst("1/s", 2));
    let mut service = ThrottleLayer::from(bucket.clone())
        .with_max_wait(sec(5))
        .layer(sends.clone());
    let mut calls: Vec<_> = (0..5)
        .map(|id| task::spawn(ready_call(&mut service, request(id))))
        .collect();
    assert_ready_ok!(calls[0].poll());
    assert_ready_ok!(calls[1].poll());
    for call in &mut calls[2..] {
        assert_pending!(call.poll());
    }
    bucket.set_rate(rate("0.25/s"));
    assert!(!calls[2].is_woken() && calls[3].is_woken() && calls[4].is_woken());
    let error = assert_ready_err!(calls[3].poll());
    assert_eq!(
        rejected(&error),
        Rejected::new(RejectReason::MaxWait).with_wait(Instant::now(), sec(8))
    );
    time::sleep(sec(4)).await;
    assert_ready_ok!(calls[2].poll());
}

#[tokio::test(start_paused = true)]
async fn a_smaller_burst_rejects_those_who_cost_more() {
    let sends = Sends::default();
    let bucket = Bucket::new(burst("1/s", 5));
    let mut service = ThrottleLayer::from(bucket.clone()).layer(sends.clone());
    let mut calls: Vec<_> = (0..2)
        .map(|id| {
            let mut request = request(id);
            request.extensions_mut().insert(Cost::new(5));
            task::spawn(ready_call(&mut service, request))
        })
        .collect();
    assert_ready_ok!(calls[0].poll());
    assert_pending!(calls[1].poll());
    bucket.set_rate(burst("1/s", 4));
    assert!(calls[1].is_woken());
    let error = assert_ready_err!(calls[1].poll());
    assert_eq!(rejected(&error).reason(), RejectReason::CostAboveBurst);
    assert_eq!(bucket.waiting(), 0);
}

/// A waiter with a grant is not in the queue when the burst changes.
#[tokio::test(start_paused = true)]
async fn a_granted_waiter_that_a_smaller_burst_cannot_pay_is_rejected_and_blocks_no_others() {
    let bucket = Bucket::new(burst("10/s", 10));
    let mut service = ThrottleLayer::from(bucket.clone()).layer(Sends::default());
    let mut call = |cost| {
        let mut request = request(0);
        request.extensions_mut().insert(Cost::new(cost));
        task::spawn(ready_call(&mut service, request))
    };
    assert_ready_ok!(call(10).poll());
    let mut dear = call(5);
    assert_pending!(dear.poll());
    let mut cheap = call(1);
    assert_pending!(cheap.poll());
    time::sleep(Duration::from_millis(500)).await;
    assert!(dear.is_woken());
    bucket.set_rate(burst("10/s", 2));
    let rejected = rejected(&assert_ready_err!(dear.poll()));
    assert_eq!(rejected.reason(), RejectReason::CostAboveBurst);
    time::sleep(sec(1)).await;
    assert_ready_ok!(cheap.poll());
    assert_ready_ok!(call(1).poll());
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_is_not_ready_costs_no_token() {
    let (mut inner, mut handle) = tower_test::mock::spawn::<Request<()>, Response<()>>();
    handle.allow(1);
    let mut service = ThrottleLayer::new(rate("1/s")).layer(inner.get_ref().clone());
    assert_ready_ok!(inner.poll_ready());
    drop(inner);
    handle.allow(1);
    ready(&mut service).await;
    let call = tower::Service::call(&mut service, request(0));
    let mut first = task::spawn(call);
    assert_pending!(first.poll());
    handle.allow(1);
    ready(&mut service).await;
    let mut second = task::spawn(tower::Service::call(&mut service, request(1)));
    assert_pending!(second.poll());
    handle.allow(0);
    time::sleep(sec(1)).await;
    assert!(second.is_woken());
    // Its own clone is not ready, so the token goes back.
    assert_pending!(second.poll());
    assert_eq!(service.partition().available(), 1);
    handle.allow(1);
    assert!(second.is_woken());
    assert_pending!(second.poll());
    assert_eq!(service.partition().available(), 0);
    let (request, _) = handle.next_request().await.unwrap();
    assert_eq!(request.uri().path(), "/0");
    let (request, send) = handle.next_request().await.unwrap();
    assert_eq!(request.uri().path(), "/1");
    send.send_response(Response::new(()));
    assert_ready_ok!(second.poll());
}

async fn ready<S: tower::Service<Request<()>>>(service: &mut S) {
    assert!(
        std::future::poll_fn(|cx| service.poll_ready(cx))
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejection_can_be_a_response_and_the_error_stays_infallible() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("1/m"))
        .fail_fast()
        .reject_with(|rejected| {
            let mut response = Response::new(());
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            let wait = rejected.wait().unwrap().as_secs();
            response.headers_mut().insert("retry-after", wait.into());
            response
        })
        .layer(sends.clone());
    let first: Result<_, std::convert::Infallible> = ready_call(&mut service, request(0)).await;
    assert_eq!(first.unwrap().status(), 200);
    let second = ready_call(&mut service, request(1)).await.unwrap();
    assert_eq!(second.headers()["retry-after"], "60");
}

#[tokio::test(start_paused = true)]
async fn every_attempt_pays_for_itself() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("1/s")).layer(sends.clone());
    for attempt in 1..=4 {
        ready_call(&mut service, retried(0, attempt)).await.unwrap();
    }
    let all = sends.all();
    assert!(all.windows(2).all(|pair| pair[1].1 - pair[0].1 == sec(1)));
}

#[test]
fn a_layer_is_built_outside_of_a_runtime() {
    let layer = ThrottleLayer::per_origin(rate("1/s"));
    let service = layer.layer(Sends::default());
    fn check<T: Send + Sync + Clone + std::fmt::Debug>(_: &T) {}
    check(&layer);
    check(&service);
    check(layer.partition());
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_may_be_dropped_without_a_runtime() {
    let sends = Sends::default();
    let bucket = Bucket::new(rate("1/s"));
    let mut service = ThrottleLayer::from(bucket.clone()).layer(sends.clone());
    ready_call(&mut service, request(0)).await.unwrap();
    let mut first = task::spawn(ready_call(&mut service, request(1)));
    let mut second = task::spawn(ready_call(&mut service, request(2)));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    std::thread::spawn(move || drop(first)).join().unwrap();
    time::sleep(sec(1)).await;
    assert!(second.is_woken());
    let sent = assert_ready!(second.poll());
    assert!(sent.is_ok());
    assert_eq!(bucket.waiting(), 0);
}

/// A service that is not ready at its first poll. It counts the instances that are ready and not
/// called.
#[derive(Debug)]
struct Slow {
    readied: Arc<AtomicUsize>,
    polled: bool,
    ready: bool,
}

impl Clone for Slow {
    fn clone(&self) -> Self {
        Self {
            readied: Arc::clone(&self.readied),
            polled: false,
            ready: false,
        }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.readied
            .fetch_sub(usize::from(self.ready), Ordering::Relaxed);
    }
}

impl tower::Service<Request<()>> for Slow {
    type Response = Response<()>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Response<()>, Self::Error>>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        if !std::mem::replace(&mut self.polled, true) {
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        if !std::mem::replace(&mut self.ready, true) {
            self.readied.fetch_add(1, Ordering::Relaxed);
        }
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready));
        self.readied.fetch_sub(1, Ordering::Relaxed);
        std::future::ready(Ok(Response::new(())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_rejected_holds_nothing_of_the_inner_services_any_more() {
    let readied = Arc::new(AtomicUsize::new(0));
    let inner = Slow {
        readied: Arc::clone(&readied),
        polled: false,
        ready: false,
    };
    let mut service = ThrottleLayer::new(rate("1/s")).layer(inner);
    ready(&mut service).await;
    tower::Service::call(&mut service, request(0))
        .await
        .unwrap();
    ready(&mut service).await;
    let mut waiting = task::spawn(tower::Service::call(&mut service, retried(1, 1)));
    assert_pending!(waiting.poll());
    time::sleep(sec(1)).await;
    // Its clone is not ready yet. When it is ready, the bucket is closed.
    assert_pending!(waiting.poll());
    service.partition().close_until(Instant::now() + sec(9));
    let error = assert_ready_err!(waiting.poll());
    assert_eq!(rejected(&error).reason(), RejectReason::Paused);
    assert_eq!(readied.load(Ordering::Relaxed), 0);
    assert_eq!(service.partition().waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_polled_after_its_deadline_is_not_sent() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::new(rate("1/s"))
        .with_max_wait(sec(10))
        .layer(sends.clone());
    let mut hurried = request(1);
    CallContext::edit(hurried.extensions_mut()).tighten(Instant::now() + sec(2));
    ready_call(&mut service, request(0)).await.unwrap();
    let mut waiting = task::spawn(ready_call(&mut service, hurried));
    let mut patient = task::spawn(ready_call(&mut service, request(2)));
    assert_pending!(waiting.poll());
    assert_pending!(patient.poll());
    time::sleep(sec(2) + Duration::from_millis(1)).await;
    let error = assert_ready_err!(waiting.poll());
    assert_eq!(rejected(&error).reason(), RejectReason::Deadline);
    assert_ready_ok!(patient.poll());
    let mut waiting = task::spawn(ready_call(&mut service, request(3)));
    assert_pending!(waiting.poll());
    time::sleep(sec(11)).await;
    let error = assert_ready_err!(waiting.poll());
    assert_eq!(rejected(&error).reason(), RejectReason::MaxWait);
    assert_eq!(sends.all().len(), 2);
    // The tokens that it was granted are there for others.
    assert_ready_ok!(task::spawn(ready_call(&mut service, request(4))).poll());
}
