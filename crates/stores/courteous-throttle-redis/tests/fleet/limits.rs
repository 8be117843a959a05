//! The quota holds for several keys, costs and rates, and for calls that are given up.

use std::{num::NonZeroU32, time::Duration};

use courteous_core::RejectReason;
use courteous_limit::Ask;
use courteous_test_servers::{
    BOUND, Fleet, Load, Redis, Sends, Sent, await_that, machine_clock, send, stand_still,
};
use courteous_testkit::Chance;
use courteous_throttle_redis::RedisBucket;
use tokio::{
    runtime,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::support::{bucket, link, quota, rate, since};

#[test]
fn idle_workers_that_all_call_at_once_get_a_burst_and_no_more() {
    let Some(redis) = Redis::start() else { return };
    // The workers make 80 calls at once, and then none for a while.
    let load = Load {
        rest: Duration::from_millis(400),
        ..Load::default()
    };
    let fleet = Fleet::start(4, load, |_| bucket(&redis.url(), quota()));
    fleet.each_sends(100);
    fleet.stop().assert_within(quota());
}

#[test]
fn even_without_a_burst_all_workers_together_keep_the_interval() {
    let Some(redis) = Redis::start() else { return };
    let smooth = rate(50, 1);
    let fleet = Fleet::start(4, Load::default(), |_| bucket(&redis.url(), smooth));
    fleet.each_sends(10);
    fleet.stop().assert_within(smooth);
}

#[test]
fn a_call_that_costs_five_counts_five_times() {
    let Some(redis) = Redis::start() else { return };
    let load = Load {
        cost: 5,
        ..Load::default()
    };
    let fleet = Fleet::start(4, load, |_| bucket(&redis.url(), quota()));
    fleet.each_sends(20);
    let sends = Sends::new();
    for sent in fleet.stop().all() {
        (0..5).for_each(|_| sends.push(sent));
    }
    sends.assert_within(quota());
}

#[tokio::test]
async fn a_call_that_costs_more_than_a_lease_can_hold_is_rejected_at_once() {
    let Some(redis) = Redis::start() else { return };
    let bucket = bucket(&redis.url(), quota());
    let dearest = NonZeroU32::new(bucket.max_cost()).unwrap();
    let outcome = timeout(BOUND, send(&bucket, &Ask::new(dearest))).await;
    assert!(outcome.expect("a lease that holds it").is_ok());
    let dearer = dearest.checked_add(1).unwrap();
    let rejected = send(&bucket, &Ask::new(dearer)).await.unwrap_err();
    assert_eq!(rejected.reason(), RejectReason::CostAboveBurst);
}

#[test]
fn limits_of_other_names_have_their_own_rate() {
    let Some(redis) = Redis::start() else { return };
    let fleets = ["one", "two"].map(|name| {
        let store = |_| RedisBucket::new(&link(&redis.url()), name, quota());
        Fleet::start(2, Load::default(), store)
    });
    let both = || {
        let both = Sends::new();
        let each = fleets.iter().flat_map(|fleet| fleet.sends().all());
        each.for_each(|sent| both.push(sent));
        both.worst(quota()).is_none_or(|worst| worst.is_within())
    };
    assert!(await_that(|| !both()));
    for fleet in fleets {
        fleet.stop().assert_within(quota());
    }
}

#[test]
fn of_workers_that_disagree_the_strictest_is_right_until_it_is_gone() {
    let Some(redis) = Redis::start() else { return };
    let (lax, strict) = (quota(), rate(100, 20));
    let careful = Fleet::start(1, Load::default(), |_| bucket(&redis.url(), strict));
    careful.each_sends(1);
    let careless = Fleet::start(2, Load::default(), |_| bucket(&redis.url(), lax));
    careless.each_sends(10);
    stand_still(Duration::from_secs(2));
    let (one, others) = (careful.stop(), careless.sends().all());
    others.into_iter().for_each(|sent| {
        one.push(Sent {
            worker: 1 + sent.worker,
            ..sent
        })
    });
    one.assert_within(strict);
    // In five seconds the strict rate is forgotten. Then more is sent in a second than the 120 that
    // it would allow.
    let start = machine_clock();
    let faster = await_that(|| {
        let recent = machine_clock() - 1_000_000_000;
        since(careless.sends(), recent.max(start)).len() > 150
    });
    assert!(faster, "{}", careless.sends().len());
    careless.stop().assert_within(lax);
}

#[test]
fn slots_of_calls_that_are_given_up_are_used_by_others() {
    let Some(redis) = Redis::start() else { return };
    let rate = rate(100, 40);
    let bucket = bucket(&redis.url(), rate);
    let sends = Sends::new();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Most of the 60 calls are given up before their turn. If their slots were lost, hardly any
    // slot would be left.
    runtime.block_on(async {
        let mut calls = JoinSet::new();
        for seed in 0..60 {
            let (bucket, sends) = (bucket.clone(), sends.clone());
            calls.spawn(async move {
                let (mut chance, worker) = (Chance::new(seed), 0);
                loop {
                    // The call is dropped, whatever its state is by then.
                    let patience = chance.time(Duration::from_secs(1));
                    let ask = Ask::new(NonZeroU32::MIN);
                    if let Ok(Ok((after, by))) = timeout(patience, send(&bucket, &ask)).await {
                        sends.push(Sent { worker, after, by });
                    }
                }
            });
        }
        let end = Instant::now() + BOUND;
        while sends.len() < 180 {
            assert!(Instant::now() < end, "{} were sent", sends.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        calls.shutdown().await;
    });
    sends.assert_within(rate);
}

#[test]
fn a_bucket_outlives_its_runtime() {
    let Some(redis) = Redis::start() else { return };
    let bucket = bucket(&redis.url(), quota());
    for _ in 0..3 {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let sent = runtime.block_on(async {
            for _ in 0..20 {
                timeout(BOUND, send(&bucket, &Ask::new(NonZeroU32::MIN))).await??;
            }
            Ok::<_, Box<dyn std::error::Error>>(())
        });
        assert!(sent.is_ok(), "{sent:?}");
    }
}
