//! All faults of a real Redis and of the way to it, in a random order.

use std::{env, num::NonZeroU32, time::Duration};

use courteous_test_servers::{Course, Fleet, Load, Redis, Wire, stand_still};
use courteous_testkit::Chance;
use tokio::time::Instant;

use crate::{
    LocalShare, RedisBucket,
    tests::{sent::rate, set_clock::SetClock},
};

const WORKERS: usize = 4;

/// `COURTEOUS_SOAK=seconds` sets how long the test runs.
#[test]
fn whatever_happens_no_more_is_sent_than_the_quota_allows() {
    let seconds = env::var("COURTEOUS_SOAK").map_or(3, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = 0;
    while Instant::now() < end && round(seed).is_some() {
        seed += 1;
    }
}

/// Runs a few faults, at a random rate.
fn round(seed: u64) -> Option<()> {
    let mut chance = Chance::new(seed);
    let burst = [1, 2, 3, 5, 10, 50, 200][chance.below(7) as usize];
    let rate = rate(20 + chance.below(1000) as u32, burst);
    let mut redis = if chance.one_in(2) {
        Redis::start()?
    } else {
        Redis::persistent()?
    };
    let wire = if chance.one_in(3) {
        Wire::with(redis.address(), Course::seeded(seed, 20_000))
    } else {
        Wire::to(redis.address())
    };
    let buckets = [0; WORKERS].map(|_| {
        let worker = SetClock::open(&wire.redis_url());
        RedisBucket::new(&worker, "soak", rate)
    });
    let share = LocalShare::new(0.3, NonZeroU32::new(WORKERS as u32).unwrap()).unwrap();
    let buckets = if burst > WORKERS as u32 && chance.one_in(3) {
        buckets.map(|bucket| bucket.with_local_share(share).unwrap())
    } else {
        buckets
    };
    let load = Load {
        rest: chance.time(Duration::from_millis(20)),
        ..Load::default()
    };
    let fleet = Fleet::start(WORKERS, load, |number| buckets[number].clone());
    let mut done = vec![format!("seed {seed}: {rate:?}")];
    for _ in 0..6 {
        stand_still(chance.time(Duration::from_millis(900)));
        let time = chance.time(Duration::from_millis(800));
        let worker = chance.below(WORKERS as u64) as usize;
        let fault = match chance.below(9) {
            0 => {
                redis.restart();
                "restart"
            }
            1 => {
                redis.kill();
                stand_still(time);
                redis.restart();
                "outage"
            }
            2 => {
                redis.command(&["FLUSHALL"]).unwrap();
                "flush"
            }
            3 => {
                redis.command(&["SCRIPT", "FLUSH"]).unwrap();
                "script flush"
            }
            4 => {
                redis.pause();
                stand_still(time);
                redis.resume();
                "hung"
            }
            5 => {
                fleet.stall(worker, time);
                "stalled"
            }
            6 => {
                let step = chance.below(40_000_000) as i64 - 20_000_000;
                SetClock::set(&redis, step);
                "step"
            }
            7 => {
                // New connections of the wire swallow all data.
                wire.set_hole(true);
                stand_still(time);
                wire.set_hole(false);
                "black hole"
            }
            _ => {
                buckets[worker].close_until(Instant::now() + time);
                "closed"
            }
        };
        done.push(format!("{fault} {time:?}"));
    }
    stand_still(Duration::from_millis(500));
    let worst = fleet.stop().worst(rate);
    assert!(
        worst.is_none_or(|worst| worst.is_within()),
        "{worst:?} {done:#?}"
    );
    Some(())
}
