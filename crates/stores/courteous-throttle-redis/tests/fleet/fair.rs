//! Each worker gets its share, and few calls are made for it.

use std::{thread, time::Duration};

use courteous_core::Rate;
use courteous_test_servers::{Fleet, Load, Redis, machine_clock, stand_still};

use crate::support::{bucket, rate, script_calls};

/// Returns how much eight saturated workers send in about ten seconds after the cold start, the
/// number of Redis calls, and the time taken.
fn share(redis: &Redis, rate: Rate) -> (Vec<usize>, u64, Duration) {
    let fleet = Fleet::start(8, Load::default(), |_| bucket(&redis.url(), rate));
    fleet.each_sends(1);
    // After this time, each worker knows of all others.
    stand_still(Duration::from_secs(2));
    let (since, calls) = (machine_clock(), script_calls(redis));
    stand_still(Duration::from_secs(10));
    let (counts, calls) = (
        fleet.sends().by_worker(8, since),
        script_calls(redis) - calls,
    );
    let time = Duration::from_nanos(machine_clock() - since);
    fleet.stop().assert_within(rate);
    (counts, calls, time)
}

#[test]
fn no_worker_starves_and_each_calls_once_in_a_lease() {
    let (Some(fast), Some(slow)) = (Redis::start(), Redis::start()) else {
        return;
    };
    // Both run at once, as they mostly wait.
    let ((many, calls, time), (few, ..)) = thread::scope(|scope| {
        let many = scope.spawn(|| share(&fast, rate(2000, 200)));
        let few = share(&slow, rate(20, 10));
        (many.join().unwrap(), few)
    });
    // A test on the paused clock checks how equal the shares are. Here the shares also depend on
    // which worker gets a processor.
    for counts in [&many, &few] {
        let mean = counts.iter().sum::<usize>() / counts.len();
        assert!(counts.iter().all(|&count| 4 * count >= mean), "{counts:?}");
    }
    // Each worker makes one call in a lease of 50 ms, and one more if the answer came too late to
    // be of use.
    let leases = 8 * time.as_millis() as u64 / 50;
    assert!(calls <= 2 * leases, "{calls} calls in {time:?}");
}
