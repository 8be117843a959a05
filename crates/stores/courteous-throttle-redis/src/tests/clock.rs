//! The clock of a real Redis is set while the workers work.

use std::time::Duration;

use courteous_test_servers::{Fleet, Load, Redis};

use crate::{
    RedisBucket,
    tests::{sent::rate, set_clock::SetClock},
};

const TWENTY_SECONDS: i64 = 20_000_000;
/// Longer than any test waits.
const HOUR: i64 = 3_600_000_000;

/// Sets the clock to each of `times`, relative to the true one, and yields how many steps forward
/// the workers saw.
fn steps(times: &[i64]) -> Option<u64> {
    let redis = Redis::start()?;
    let buckets = [0; 4].map(|_| {
        let worker = SetClock::open(&redis.url());
        RedisBucket::new(&worker, "fleet", rate(500, 50))
    });
    let fleet = Fleet::start(4, Load::default(), |number| buckets[number].clone());
    fleet.each_sends(20);
    for &time in times {
        SetClock::set(&redis, time);
        fleet.each_sends(40);
    }
    fleet.stop().assert_within(rate(500, 50));
    Some(
        buckets
            .iter()
            .map(|bucket| bucket.gauges().clock_steps())
            .sum(),
    )
}

#[test]
fn a_clock_that_is_set_forward_lets_nothing_more_through() {
    let seen = steps(&[TWENTY_SECONDS, TWENTY_SECONDS + HOUR]);
    assert!(seen.is_none_or(|seen| seen >= 2), "{seen:?}");
}

#[test]
fn a_clock_that_is_set_back_holds_up_nobody() {
    steps(&[-TWENTY_SECONDS, -HOUR]);
}

#[test]
fn a_clock_that_is_set_to_and_fro_does_neither() {
    let second = Duration::from_secs(1).as_micros() as i64;
    steps(&[TWENTY_SECONDS, 0, second, -second, HOUR, TWENTY_SECONDS]);
}
