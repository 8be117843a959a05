//! Each worker gets its share, and few calls are made for it.

use std::time::Duration;

use courteous_core::Rate;
use courteous_testkit::{Redis, jain_index, machine_clock};

use crate::support::{Fleet, Load, bucket, rate, script_calls, stand_still};

/// What eight saturated workers send in ten seconds after the cold start, and the Redis calls in that time.
fn share(redis: &Redis, rate: Rate) -> (Vec<usize>, u64) {
    let fleet = Fleet::start(8, Load::default(), |_| bucket(&redis.url(), rate));
    fleet.each_sends(1);
    // By then each knows of all.
    stand_still(Duration::from_secs(2));
    let (since, calls) = (machine_clock(), script_calls(redis));
    stand_still(Duration::from_secs(10));
    let (counts, calls) = (
        fleet.sends().by_worker(8, since),
        script_calls(redis) - calls,
    );
    fleet.stop().assert_within(rate);
    (counts, calls)
}

#[test]
fn at_2000_per_second_all_get_the_same_and_ten_requests_cost_one_call() {
    let Some(redis) = Redis::start() else { return };
    let (counts, calls) = share(&redis, rate(2000, 200));
    let sent: usize = counts.iter().sum();
    assert!(jain_index(&counts) >= 0.99, "{counts:?}");
    assert!(
        calls as usize * 10 <= sent,
        "{calls} calls, {sent} requests"
    );
}

#[test]
fn at_20_per_second_all_get_the_same_and_nobody_starves() {
    let Some(redis) = Redis::start() else { return };
    let (counts, _) = share(&redis, rate(20, 10));
    assert!(jain_index(&counts) >= 0.99, "{counts:?}");
    assert!(counts.iter().all(|&count| count >= 10), "{counts:?}");
}
