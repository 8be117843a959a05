//! Each worker gets its share, and few calls are made for it.

use std::{thread, time::Duration};

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
fn all_get_the_same_nobody_starves_and_ten_requests_cost_one_call() {
    let (Some(fast), Some(slow)) = (Redis::start(), Redis::start()) else {
        return;
    };
    // At once, as they mostly wait.
    let ((many, calls), (few, _)) = thread::scope(|scope| {
        let many = scope.spawn(|| share(&fast, rate(2000, 200)));
        let few = share(&slow, rate(20, 10));
        (many.join().unwrap(), few)
    });
    // 0.999 where there is a processor for each: with leases of 50 ms, this is also about who gets one.
    assert!(jain_index(&many) >= 0.97, "{many:?}");
    let sent: usize = many.iter().sum();
    assert!(
        calls as usize * 10 <= sent,
        "{calls} calls, {sent} requests"
    );
    assert!(jain_index(&few) >= 0.99, "{few:?}");
    assert!(few.iter().all(|&count| count >= 10), "{few:?}");
}
