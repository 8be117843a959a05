//! Several limits in one throttle, costs that are addressed to one of them, and what a call really
//! cost.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use courteous_core::{BoxError, RejectReason, Rejected, find_cause};
use courteous_throttle::{Bucket, Cost, Keyed, Rate, Settle, Settled, ThrottleLayer};
use http::{Request, Response};
use proptest::prelude::*;
use support::{Sends, assert_bound, ready_call, request, retried, sec};
use tokio::{
    runtime::Builder,
    time::{self, Instant},
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, service_fn};

fn rate(text: &str, burst: u32) -> Rate {
    let rate: Rate = text.parse().unwrap();
    rate.with_burst(NonZeroU32::new(burst).unwrap())
}

fn costing(id: u32, cost: Cost) -> Request<()> {
    let mut request = request(id);
    request.extensions_mut().insert(cost);
    request
}

fn settle(response: &Response<()>) -> Settle {
    Settle::of(response).unwrap()
}

fn rejected(error: &BoxError) -> Rejected {
    *find_cause::<Rejected>(&**error).unwrap()
}

/// Two requests a second, and ten tokens a second.
fn two_limits() -> [Bucket; 2] {
    Bucket::joint([rate("2/s", 2), rate("10/s", 10)])
}

#[tokio::test(start_paused = true)]
async fn a_call_pays_both_limits_or_none() {
    let sends = Sends::default();
    let [requests, tokens] = two_limits();
    let mut service = ThrottleLayer::from(requests.clone()).layer(sends.clone());
    let start = Instant::now();
    ready_call(&mut service, costing(0, Cost::new(8).on(&tokens)))
        .await
        .unwrap();
    assert_eq!((requests.available(), tokens.available()), (1, 2));
    // The call lacks 6 tokens. The request that it could have now stays in the bucket.
    let mut dear = task::spawn(ready_call(
        &mut service,
        costing(1, Cost::new(8).on(&tokens)),
    ));
    assert_pending!(dear.poll());
    assert_eq!((requests.available(), tokens.available()), (1, 2));
    // First in, first out, whichever limit the other calls lack.
    let mut cheap = task::spawn(ready_call(
        &mut service,
        costing(2, Cost::new(0).on(&tokens)),
    ));
    assert_pending!(cheap.poll());
    time::sleep(Duration::from_millis(599)).await;
    assert!(!dear.is_woken() && !cheap.is_woken());
    time::sleep(Duration::from_millis(1)).await;
    assert!(dear.is_woken() && cheap.is_woken());
    assert_ready_ok!(dear.poll());
    assert_ready_ok!(cheap.poll());
    assert_eq!(start.elapsed(), Duration::from_millis(600));
    assert_eq!((requests.available(), tokens.available()), (0, 0));
    // Now requests are lacking.
    ready_call(&mut service, costing(3, Cost::new(1).on(&tokens)))
        .await
        .unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(1_100));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_gives_both_costs_back() {
    let [requests, tokens] = two_limits();
    let mut service = ThrottleLayer::from(tokens.clone()).layer(Sends::default());
    let mut call = |id, cost| {
        task::spawn(ready_call(
            &mut service,
            costing(id, Cost::new(cost).on(&tokens)),
        ))
    };
    assert_ready_ok!(call(0, 10).poll());
    let (mut first, mut second) = (call(1, 10), call(2, 10));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    time::sleep(sec(1)).await;
    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll());
    assert_eq!((requests.available(), tokens.available()), (1, 0));
    assert_eq!(requests.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cost_without_an_address_counts_in_the_first_limit() {
    let [requests, tokens] = Bucket::joint([rate("1/s", 5), rate("1/s", 100)]);
    let layer = ThrottleLayer::from(tokens.clone());
    let mut service = layer.clone().layer(Sends::default());
    ready_call(&mut service, costing(0, Cost::new(3)))
        .await
        .unwrap();
    assert_eq!((requests.available(), tokens.available()), (2, 99));
    let cost = Cost::new(2).and(Cost::new(60).on(&tokens));
    ready_call(&mut service, costing(1, cost)).await.unwrap();
    assert_eq!((requests.available(), tokens.available()), (0, 39));
    time::sleep(sec(100)).await;
    // The layer's cost counts in the first limit, too.
    let mut service = layer
        .with_cost(|_| NonZeroU32::new(4).unwrap())
        .layer(Sends::default());
    let cost = Cost::new(7).on(&tokens);
    ready_call(&mut service, costing(2, cost)).await.unwrap();
    assert_eq!((requests.available(), tokens.available()), (1, 93));
    ready_call(&mut service, costing(3, Cost::new(0).on(&requests)))
        .await
        .unwrap();
    assert_eq!((requests.available(), tokens.available()), (1, 92));
}

#[tokio::test(start_paused = true)]
async fn the_last_address_of_a_cost_counts_and_parts_keep_theirs() {
    let [requests, tokens] = two_limits();
    let mut service = ThrottleLayer::from(requests.clone()).layer(Sends::default());
    let cost = Cost::new(2).on(&requests).on(&tokens);
    ready_call(&mut service, costing(0, cost)).await.unwrap();
    assert_eq!((requests.available(), tokens.available()), (1, 8));
    let cost = Cost::new(0).and(Cost::new(3).on(&tokens)).on(&requests);
    ready_call(&mut service, costing(1, cost)).await.unwrap();
    assert_eq!((requests.available(), tokens.available()), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn an_addressed_cost_counts_once_in_a_stack_of_two_throttles() {
    let (outer, inner) = (Bucket::new(rate("1/s", 5)), Bucket::new(rate("1/s", 100)));
    let service = ThrottleLayer::from(inner.clone()).layer(Sends::default());
    let mut service = ThrottleLayer::from(outer.clone()).layer(service);
    // More than the outer throttle could hold.
    let cost = Cost::new(40).on(&inner);
    let response = ready_call(&mut service, costing(0, cost)).await.unwrap();
    assert_eq!((outer.available(), inner.available()), (4, 60));
    assert_eq!(settle(&response).actual(50), Some(Settled::more(10, 0)));
    assert_eq!((outer.available(), inner.available()), (4, 50));
    // The handle of the response settles costs that were addressed to either throttle.
    let cost = Cost::new(30).on(&inner).and(Cost::new(3).on(&outer));
    let response = ready_call(&mut service, costing(1, cost)).await.unwrap();
    assert_eq!((outer.available(), inner.available()), (1, 20));
    let settle = settle(&response);
    assert_eq!(settle.actual_on(&inner, 0), Some(Settled::less(30)));
    assert_eq!(settle.actual_on(&outer, 1), Some(Settled::less(2)));
    assert_eq!((outer.available(), inner.available()), (3, 50));
    assert_eq!(settle.actual_on(&Bucket::new(rate("1/s", 1)), 1), None);
}

#[tokio::test(start_paused = true)]
async fn only_an_addressed_cost_has_a_handle_to_settle_it() {
    let bucket = Bucket::new(rate("1/s", 5));
    let other = Bucket::new(rate("1/s", 5));
    let mut service = ThrottleLayer::from(bucket.clone()).layer(Sends::default());
    for cost in [Cost::new(1), Cost::new(2).on(&other)] {
        let response = ready_call(&mut service, costing(0, cost)).await.unwrap();
        assert!(Settle::of(&response).is_none());
    }
    // A cost for another throttle does not count here: one token.
    assert_eq!(bucket.available(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_credential_has_limits_of_its_own_and_one_handle_addresses_them_all() {
    let sends = Sends::default();
    let [requests, tokens] = two_limits();
    let key = |id: u32| id % 2;
    let keyed = Keyed::new(requests, move |head| {
        key(head.uri().path()[1..].parse().unwrap())
    });
    let mut service = ThrottleLayer::from(keyed.clone()).layer(sends.clone());
    let start = Instant::now();
    for id in 0..6 {
        let cost = Cost::new(5).on(&tokens);
        let response = ready_call(&mut service, costing(id, cost)).await.unwrap();
        if id == 0 {
            settle(&response).actual(0);
        }
    }
    // Key 1: 5 + 5 at once, and 5 half a second later. Key 0 had 5 tokens more, and lacked a
    // request instead.
    assert_eq!(start.elapsed(), Duration::from_millis(500));
    let limit = |key, of: &Bucket| keyed.get(&key).unwrap().limit(of).unwrap();
    assert_eq!(limit(0, &tokens).available(), 5);
    assert_eq!(limit(1, &tokens).available(), 0);
    assert_eq!(tokens.available(), 10, "the template's own are not used");
    keyed.set_rate_on(&tokens, rate("1/s", 3));
    assert_eq!(limit(0, &tokens).rates(), [rate("1/s", 3)]);
    assert_eq!(limit(0, &tokens).available(), 3);
    assert_eq!(keyed.get(&0).unwrap().rates(), [rate("2/s", 2)]);
    assert!(
        keyed
            .get(&0)
            .unwrap()
            .limit(&Bucket::new(rate("1/s", 1)))
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn a_handle_reads_and_changes_its_own_limit() {
    let [requests, tokens] = two_limits();
    let tokens = tokens.and(rate("600/m", 100));
    assert_eq!(requests.rates(), [rate("2/s", 2)]);
    assert_eq!(tokens.rates(), [rate("10/s", 10), rate("600/m", 100)]);
    tokens.set_rate(rate("20/s", 4));
    requests.set_rate(rate("1/s", 1));
    assert_eq!((requests.available(), tokens.available()), (1, 4));
    assert_eq!(tokens.rates(), [rate("20/s", 4)]);
    tokens.close_until(Instant::now() + sec(1));
    assert_eq!(requests.closed_until(), Some(Instant::now() + sec(1)));
    time::sleep(sec(2)).await;
    // A snapshot shows the whole bucket.
    let snapshot = tokens.snapshot();
    assert_eq!(snapshot.rates, [rate("1/s", 1), rate("20/s", 4)]);
    assert_eq!(snapshot.buckets[0].available, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_no_burst_can_pay_is_told_which_limit_and_what_to_do() {
    let [requests, tokens] = two_limits();
    let mut service = ThrottleLayer::from(requests).layer(Sends::default());
    let call = ready_call(&mut service, costing(0, Cost::new(11).on(&tokens)));
    let error = assert_ready_err!(task::spawn(call).poll());
    let expected = Rejected::above_burst(11, 10, rate("10/s", 10));
    assert_eq!(rejected(&error), expected);
    let text = error.to_string();
    assert!(
        text.contains("costs 11 tokens") && text.contains("at most 10"),
        "{text}"
    );
    let call = ready_call(&mut service, costing(0, Cost::new(10).on(&tokens)));
    assert_ready_ok!(task::spawn(call).poll());
}

#[tokio::test(start_paused = true)]
async fn what_a_call_did_not_use_goes_to_a_waiter_at_once() {
    let tokens = Bucket::new(rate("1/s", 10));
    let mut service = ThrottleLayer::from(tokens.clone()).layer(Sends::default());
    let cost = |n| Cost::new(n).on(&tokens);
    let response = ready_call(&mut service, costing(0, cost(10)))
        .await
        .unwrap();
    let mut waiting = task::spawn(ready_call(&mut service, costing(1, cost(6))));
    assert_pending!(waiting.poll());
    let settle = settle(&response);
    drop(response);
    // This runs on another thread, without a runtime.
    thread::spawn(move || assert_eq!(settle.actual(4), Some(Settled::less(6))))
        .join()
        .unwrap();
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
    assert_eq!(tokens.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_full_bucket_would_have_lost_is_not_given_back() {
    let tokens = Bucket::new(rate("1/s", 10));
    let mut service = ThrottleLayer::from(tokens.clone()).layer(Sends::default());
    let cost = Cost::new(10).on(&tokens);
    let response = ready_call(&mut service, costing(0, cost)).await.unwrap();
    time::sleep(sec(8)).await;
    settle(&response).actual(4);
    // As if 4 had been charged: the bucket was full after 4 s, and holds no more than that.
    assert_eq!(tokens.available(), 10);
    ready_call(&mut service, costing(1, Cost::new(10)))
        .await
        .unwrap();
    // A second number counts from the first one. No token comes back, as the bucket was full in
    // between.
    assert_eq!(settle(&response).actual(0), Some(Settled::less(4)));
    assert_eq!(tokens.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_calls_that_were_idle_together_do_not_both_give_back_the_same_room() {
    let tokens = Bucket::new(rate("1/s", 20));
    let mut service = ThrottleLayer::from(tokens.clone()).layer(Sends::default());
    let mut call = |cost: Cost| ready_call(&mut service, costing(0, cost));
    let one = call(Cost::new(10).on(&tokens)).await.unwrap();
    let other = call(Cost::new(10).on(&tokens)).await.unwrap();
    time::sleep(sec(10)).await;
    call(Cost::new(10)).await.unwrap();
    settle(&one).actual(0);
    settle(&other).actual(0);
    // As if the last call had been the only one.
    assert_eq!(tokens.available(), 10);
}

#[tokio::test(start_paused = true)]
async fn each_later_charge_comes_back_wholly_while_the_bucket_is_not_full() {
    let tokens = Bucket::new(rate("1/s", 10));
    let mut service = ThrottleLayer::from(tokens.clone()).layer(Sends::default());
    let response = ready_call(&mut service, costing(0, Cost::new(1).on(&tokens))).await;
    let settle = settle(&response.unwrap());
    settle.actual(2);
    time::sleep(sec(100)).await;
    assert_eq!(settle.actual(7), Some(Settled::more(5, 0)));
    assert_eq!(tokens.available(), 5);
    assert_eq!(settle.actual(2), Some(Settled::less(5)));
    assert_eq!(tokens.available(), 10);
}

/// Two calls with an estimate of 9 tell how much they have used so far. Together they may not use
/// 18 of 10.
#[tokio::test(start_paused = true)]
async fn a_running_total_below_the_estimate_gives_nothing_back() {
    let tokens = Bucket::new(rate("1/s", 10));
    let layer = ThrottleLayer::from(tokens.clone()).fail_fast();
    let mut service = layer.layer(Sends::default());
    let response = ready_call(&mut service, costing(0, Cost::new(9).on(&tokens))).await;
    let settle = settle(&response.unwrap());
    assert_eq!(settle.at_least(1), Some(Settled::default()));
    assert_eq!(tokens.available(), 1);
    let second = ready_call(&mut service, costing(1, Cost::new(9).on(&tokens))).await;
    assert_eq!(
        rejected(&second.unwrap_err()).reason(),
        RejectReason::AtCapacity
    );
    assert_eq!(settle.at_least(10), Some(Settled::more(1, 0)));
    assert_eq!(settle.at_least(4), Some(Settled::default()));
    assert_eq!(settle.actual(4), Some(Settled::less(6)));
    assert_eq!(tokens.available(), 6);
    let other = Bucket::new(rate("1/s", 10));
    assert_eq!(settle.at_least_on(&other, 10), None);
}

#[tokio::test(start_paused = true)]
async fn many_running_totals_of_a_call_come_back_at_its_end() {
    let tokens = Bucket::new(rate("1/s", 100));
    let mut service = ThrottleLayer::from(tokens.clone()).layer(Sends::default());
    let response = ready_call(&mut service, costing(0, Cost::new(30).on(&tokens))).await;
    let settle = settle(&response.unwrap());
    for total in 31..=60 {
        assert_eq!(settle.at_least(total), Some(Settled::more(1, 0)));
    }
    assert_eq!(tokens.available(), 40);
    assert_eq!(settle.actual(40), Some(Settled::less(20)));
    assert_eq!(tokens.available(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_charge_in_one_limit_comes_back_after_one_in_another() {
    let [a, b] = Bucket::joint([rate("1/s", 10), rate("1/s", 10)]);
    let mut service = ThrottleLayer::from(a.clone()).layer(Sends::default());
    let cost = Cost::new(1).on(&a).and(Cost::new(1).on(&b));
    let response = ready_call(&mut service, costing(0, cost)).await.unwrap();
    let settle = settle(&response);
    settle.actual_on(&a, 2);
    settle.actual_on(&b, 5);
    settle.actual_on(&b, 1);
    assert_eq!((a.available(), b.available()), (8, 9));
}

#[tokio::test(start_paused = true)]
async fn what_a_call_cost_more_is_owed_up_to_one_burst() {
    let tokens = Bucket::new(rate("1/s", 10));
    let mut service = ThrottleLayer::from(tokens.clone()).layer(Sends::default());
    let cost = Cost::new(5).on(&tokens);
    let response = ready_call(&mut service, costing(0, cost)).await.unwrap();
    let mut waiting = task::spawn(ready_call(&mut service, costing(1, Cost::new(7))));
    assert_pending!(waiting.poll());
    let settle = settle(&response);
    // 5 tokens are there, and 10 may be owed.
    assert_eq!(settle.actual(5), Some(Settled::more(0, 0)));
    assert_eq!(settle.actual(1_000_000), Some(Settled::more(15, 999_980)));
    assert_eq!(
        settle.actual(1_000_000),
        Some(Settled::more(0, 0)),
        "once only"
    );
    assert_eq!(tokens.available(), 0);
    // The two seconds of this wait have become 17.
    time::sleep(Duration::from_millis(16_999)).await;
    assert!(!waiting.is_woken());
    time::sleep(Duration::from_millis(1)).await;
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
    // A wrong number is corrected: what was forgotten was not charged.
    assert_eq!(settle.actual(12), Some(Settled::less(8)));
    // If the call had been charged 12, the bucket would have been full after 12 s.
    assert_eq!(tokens.available(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_debt_rejects_a_waiter_for_whom_it_is_too_long() {
    let tokens = Bucket::new(rate("1/s", 10));
    let mut service = ThrottleLayer::from(tokens.clone())
        .with_max_wait(sec(3))
        .layer(Sends::default());
    let cost = Cost::new(10).on(&tokens);
    let response = ready_call(&mut service, costing(0, cost)).await.unwrap();
    let mut waiting = task::spawn(ready_call(&mut service, costing(1, Cost::new(2))));
    assert_pending!(waiting.poll());
    settle(&response).actual(12);
    assert!(waiting.is_woken());
    let error = assert_ready_err!(waiting.poll());
    assert_eq!(rejected(&error).reason(), RejectReason::MaxWait);
    assert_eq!(rejected(&error).wait(), Some(sec(4)));
}

#[tokio::test(start_paused = true)]
async fn a_granted_waiter_that_a_debt_overtakes_waits_again() {
    let tokens = Bucket::new(rate("1/s", 10));
    let sends = Sends::default();
    let mut service = ThrottleLayer::from(tokens.clone()).layer(sends.clone());
    let cost = Cost::new(10).on(&tokens);
    let start = Instant::now();
    let response = ready_call(&mut service, costing(0, cost)).await.unwrap();
    let mut waiting = task::spawn(ready_call(&mut service, costing(1, Cost::new(2))));
    assert_pending!(waiting.poll());
    time::sleep(sec(2)).await;
    assert!(waiting.is_woken());
    settle(&response).actual(13);
    assert_pending!(waiting.poll());
    time::sleep(sec(3)).await;
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
    assert_eq!(sends.all()[1], (1, start + sec(5)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_costs_nothing_in_a_limit_does_not_wait_for_its_debt() {
    let [requests, tokens] = Bucket::joint([rate("1/s", 10), rate("1/s", 10)]);
    let mut service = ThrottleLayer::from(requests.clone()).layer(Sends::default());
    let cost = Cost::new(10).on(&tokens);
    let response = ready_call(&mut service, costing(0, cost)).await.unwrap();
    settle(&response).actual(20);
    let free = ready_call(&mut service, costing(1, Cost::new(0).on(&tokens)));
    assert_ready_ok!(task::spawn(free).poll());
    let mut other = task::spawn(ready_call(&mut service, request(2)));
    assert_pending!(other.poll());
    time::sleep(sec(11)).await;
    assert!(other.is_woken());
    assert_ready_ok!(other.poll());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_unsettled_keeps_its_estimate_and_the_fast_path_comes_back() {
    let tokens = Bucket::new(rate("1/s", 10));
    let mut service = ThrottleLayer::from(tokens.clone()).layer(Sends::default());
    let cost = Cost::new(4).on(&tokens);
    drop(
        ready_call(&mut service, costing(0, cost.clone()))
            .await
            .unwrap(),
    );
    assert_eq!(tokens.available(), 6);
    // A future that is dropped after its request was sent.
    drop(ready_call(&mut service, costing(1, cost.clone())));
    assert_eq!(tokens.available(), 2);
    // A waiter that is dropped.
    drop(ready_call(&mut service, costing(2, cost)));
    assert_eq!((tokens.available(), tokens.waiting()), (2, 0));
    time::sleep(sec(8)).await;
    assert_eq!(tokens.available(), 10);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_pays_and_the_last_one_is_settled() {
    let tokens = Bucket::new(rate("1/s", 100));
    let service = ThrottleLayer::from(tokens.clone()).layer(Sends::default());
    let attempt = |number| {
        let mut service = service.clone();
        let mut request = retried(0, number);
        request.extensions_mut().insert(Cost::new(10).on(&tokens));
        async move { ready_call(&mut service, request).await.unwrap() }
    };
    drop(attempt(1).await);
    let last = attempt(2).await;
    assert_eq!(tokens.available(), 80);
    settle(&last).actual(1);
    assert_eq!(tokens.available(), 89);
}

#[tokio::test(start_paused = true)]
async fn a_changed_rate_keeps_what_may_come_back() {
    let tokens = Bucket::new(rate("1/s", 100));
    let mut service = ThrottleLayer::from(tokens.clone()).layer(Sends::default());
    let cost = Cost::new(90).on(&tokens);
    let response = ready_call(&mut service, costing(0, cost)).await.unwrap();
    tokens.set_rate(rate("7/m", 50));
    assert_eq!(tokens.available(), 10);
    settle(&response).actual(60);
    assert_eq!(tokens.available(), 40);
    settle(&response).actual(0);
    assert_eq!(tokens.available(), 50);
    settle(&response).actual(100);
    assert_eq!(tokens.available(), 0);
    // A bucket that may owe less cannot owe more than its new burst.
    tokens.set_rate(rate("1/s", 5));
    time::sleep(sec(10)).await;
    assert_eq!(tokens.available(), 5);
}

#[test]
fn many_threads_settle_and_nothing_is_lost() {
    const THREADS: u32 = 4;
    const CALLS: u32 = 500;
    let [requests, tokens] = Bucket::joint([
        rate("1/h", THREADS * CALLS),
        rate("1/h", THREADS * CALLS * 10),
    ]);
    let service = ThrottleLayer::from(requests.clone()).layer(Sends::default());
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (mut service, tokens) = (service.clone(), tokens.clone());
            thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    for id in 0..CALLS {
                        let cost = Cost::new(5).on(&tokens);
                        let response = ready_call(&mut service, costing(id, cost)).await.unwrap();
                        // The number goes up, goes down, and is told twice.
                        settle(&response).actual(id % 11);
                        settle(&response).actual_on(&tokens, (id + 1) % 11);
                        if id % 3 == 0 {
                            settle(&response).actual((id + 2) % 11);
                        }
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let real = (0..CALLS).map(|id| {
        if id % 3 == 0 {
            (id + 2) % 11
        } else {
            (id + 1) % 11
        }
    });
    let real = real.sum::<u32>() * THREADS;
    assert_eq!(requests.available(), 0);
    let left = THREADS * CALLS * 10 - real;
    assert!((left..=left + 1).contains(&tokens.available()));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A call that is sent now, or rejected.
    Call(u32),
    /// Counts one of the calls as this number.
    Settle(usize, u32),
    Forget(usize),
    Sleep(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12u32).prop_map(Step::Call),
        4 => (any::<usize>(), 0..24u32).prop_map(|(call, cost)| Step::Settle(call, cost)),
        1 => any::<usize>().prop_map(Step::Forget),
        3 => (0..8u64).prop_map(Step::Sleep),
    ]
}

/// What was charged, and when. If a call turned out to cost less, that counts from its payment. If
/// it cost more, that counts from when it was told.
#[derive(Clone, Copy, Debug)]
struct Charge {
    at: u64,
    tokens: u32,
}

/// The level of a bucket with a burst of 12. One token comes back in each step of time.
fn replay(charges: &[Charge], now: u64) -> i64 {
    const BURST: i64 = 12;
    let (mut level, mut last) = (BURST, 0);
    for charge in charges {
        level = (level + (charge.at - last) as i64).min(BURST) - i64::from(charge.tokens);
        last = charge.at;
    }
    (level + (now - last) as i64).min(BURST)
}

/// A call that can be settled.
struct OpenCall {
    settle: Settle,
    told: u32,
    /// The indices of its own charges.
    charges: Vec<usize>,
    settled: usize,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// If calls really cost less than the estimate, the bucket is as if that cost had been charged
    /// when each call was sent. What a call costs above the estimate is charged when it is told,
    /// down to a debt of one burst.
    #[test]
    fn a_settled_bucket_is_one_that_was_charged_right_from_the_start(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(settled_and_replayed(&steps))?;
    }
}

async fn settled_and_replayed(steps: &[Step]) -> Result<(), TestCaseError> {
    let tokens = Bucket::new(rate("1/s", 12));
    let mut service = ThrottleLayer::from(tokens.clone())
        .fail_fast()
        .layer(Sends::default());
    let mut charges: Vec<Charge> = Vec::new();
    let mut open: Vec<OpenCall> = Vec::new();
    let mut now = 0;
    for &step in steps {
        match step {
            Step::Sleep(seconds) => {
                now += seconds;
                time::sleep(sec(seconds)).await;
            }
            Step::Call(cost) => {
                let level = replay(&charges, now);
                let call = ready_call(&mut service, costing(0, Cost::new(cost).on(&tokens)));
                let response = call.await;
                let affordable = cost == 0 || level >= i64::from(cost);
                prop_assert_eq!(response.is_ok(), affordable, "{} of {}", cost, level);
                if let Ok(response) = response {
                    open.push(OpenCall {
                        settle: settle(&response),
                        told: cost,
                        charges: vec![charges.len()],
                        settled: 0,
                    });
                    charges.push(Charge {
                        at: now,
                        tokens: cost,
                    });
                }
            }
            Step::Settle(call, actual) if !open.is_empty() => {
                let i = call % open.len();
                let call = &mut open[i];
                let settled = call.settle.actual(actual).unwrap();
                let more = actual.saturating_sub(call.told);
                let owed = (replay(&charges, now) + 12).max(0);
                let charged = u32::try_from(owed).unwrap().min(more);
                prop_assert_eq!(settled.charged(), charged);
                prop_assert_eq!(settled.forgotten(), more - charged);
                if charged > 0 {
                    call.charges.push(charges.len());
                    charges.push(Charge {
                        at: now,
                        tokens: charged,
                    });
                }
                if actual < call.told {
                    let paid: u32 = call.charges.iter().map(|&i| charges[i].tokens).sum();
                    let mut less = paid.saturating_sub(actual);
                    prop_assert_eq!(settled.given_back(), less);
                    for &i in call.charges.iter().rev() {
                        let back = less.min(charges[i].tokens);
                        charges[i].tokens -= back;
                        less -= back;
                    }
                }
                call.told = actual;
                call.settled += 1;
                if call.settled == 4 {
                    drop(open.swap_remove(i));
                }
            }
            Step::Forget(call) if !open.is_empty() => {
                drop(open.swap_remove(call % open.len()));
            }
            Step::Settle(..) | Step::Forget(_) => {}
        }
        let level = replay(&charges, now).max(0);
        prop_assert_eq!(i64::from(tokens.available()), level, "{:?}", charges);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Queued {
    Call { tokens: u32 },
    Poll(usize),
    PollAll,
    Drop(usize),
    Sleep(u64),
    Settle { call: usize, half: bool },
}

fn queued() -> impl Strategy<Value = Queued> {
    prop_oneof![
        5 => (0..8u32).prop_map(|tokens| Queued::Call { tokens }),
        3 => any::<usize>().prop_map(Queued::Poll),
        1 => Just(Queued::PollAll),
        1 => any::<usize>().prop_map(Queued::Drop),
        4 => (0..900u64).prop_map(Queued::Sleep),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(call, half)| Queued::Settle { call, half }),
    ]
}

/// What a request pays. The service counts it.
#[derive(Clone, Copy)]
struct Paid(u32);

type Log = Arc<Mutex<Vec<(Instant, u32)>>>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// By the real costs of the calls, no window holds more than either limit allows, and no call
    /// is forgotten. This holds whatever waits, is dropped, or costs less than was estimated.
    #[test]
    fn both_limits_hold_by_what_the_calls_really_cost(
        steps in prop::collection::vec(queued(), 0..120),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let sends = runtime.block_on(run(&steps));
        let requests: Vec<_> = sends.iter().map(|&(at, _)| (at, 1)).collect();
        assert_bound(&requests, 3, 4.0);
        assert_bound(&sends, 8, 5.0);
    }
}

async fn run(steps: &[Queued]) -> Vec<(Instant, u32)> {
    let sends = Log::default();
    let inner = {
        let sends = Arc::clone(&sends);
        service_fn(move |request: Request<()>| {
            let Paid(cost) = *request.extensions().get().unwrap();
            let mut sends = sends.lock().unwrap();
            let mut response = Response::new(());
            response.extensions_mut().insert(sends.len());
            sends.push((Instant::now(), cost));
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        })
    };
    let [requests, tokens] = Bucket::joint([rate("4/s", 3), rate("5/s", 8)]);
    let mut service = ThrottleLayer::from(requests.clone()).layer(inner);
    let (mut waiting, mut open) = (Vec::new(), Vec::new());
    let (mut made, mut dropped) = (0, 0);
    let done = |response: Result<Response<()>, BoxError>, open: &mut Vec<Response<()>>| {
        open.push(response.unwrap());
    };
    for step in steps {
        match *step {
            Queued::Call { tokens: cost } => {
                let mut request = costing(0, Cost::new(cost).on(&tokens));
                request.extensions_mut().insert(Paid(cost));
                made += 1;
                let mut call = task::spawn(ready_call(&mut service, request));
                match call.poll() {
                    std::task::Poll::Ready(response) => done(response, &mut open),
                    std::task::Poll::Pending => waiting.push(call),
                }
            }
            Queued::Poll(i) if !waiting.is_empty() => {
                let i = i % waiting.len();
                if let std::task::Poll::Ready(response) = waiting[i].poll() {
                    done(response, &mut open);
                    drop(waiting.remove(i));
                }
            }
            Queued::PollAll => waiting.retain_mut(|call| match call.poll() {
                std::task::Poll::Ready(response) => {
                    done(response, &mut open);
                    false
                }
                std::task::Poll::Pending => true,
            }),
            Queued::Drop(i) if !waiting.is_empty() => {
                drop(waiting.swap_remove(i % waiting.len()));
                dropped += 1;
            }
            Queued::Sleep(millis) => time::sleep(Duration::from_millis(millis)).await,
            Queued::Settle { call, half } if !open.is_empty() => {
                let response = open.swap_remove(call % open.len());
                let sent: usize = *response.extensions().get().unwrap();
                let cost = sends.lock().unwrap()[sent].1;
                let actual = if half { cost / 2 } else { 0 };
                assert_eq!(
                    settle(&response).actual(actual),
                    Some(Settled::less(cost - actual))
                );
                sends.lock().unwrap()[sent].1 = actual;
            }
            Queued::Poll(_) | Queued::Drop(_) | Queued::Settle { .. } => {}
        }
    }
    waiting.retain_mut(|call| call.poll().is_pending());
    let mut patience = 1_000;
    while !waiting.is_empty() {
        time::sleep(Duration::from_millis(500)).await;
        waiting.retain_mut(|call| !call.is_woken() || call.poll().is_pending());
        patience -= 1;
        assert!(patience > 0, "{} were never woken", waiting.len());
    }
    assert_eq!(requests.waiting(), 0);
    let sends = sends.lock().unwrap().clone();
    assert_eq!(sends.len(), made - dropped);
    sends
}
