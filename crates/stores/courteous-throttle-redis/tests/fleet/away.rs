//! What happens to calls while Redis is away, with each of the three choices.

use std::{num::NonZeroU32, time::Duration};

use courteous_core::RejectReason;
use courteous_limit::Ask;
use courteous_test_servers::{BOUND, Fleet, Load, Redis, Wire, await_that, machine_clock, send};
use courteous_throttle_redis::{LocalShare, RedisBucket};
use tokio::time::{Instant, timeout};

use crate::support::{bucket, quota, rate, since};

const WORKERS: usize = 4;
const PATIENCE: Duration = Duration::from_millis(200);

fn impatient() -> Load {
    Load {
        callers: 5,
        patience: Some(PATIENCE),
        ..Load::default()
    }
}

#[test]
fn calls_are_rejected_as_unavailable_while_redis_is_away_and_sent_when_it_is_back() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let fleet = Fleet::start(WORKERS, impatient(), |_| bucket(&redis.url(), quota()));
    fleet.each_sends(20);
    redis.pause();
    fleet.rejects(50, RejectReason::Unavailable);
    redis.resume();
    fleet.each_sends(20);
    redis.kill();
    fleet.rejects(50, RejectReason::Unavailable);
    redis.restart();
    fleet.each_sends(20);
    fleet.stop().assert_within(quota());
}

/// If Redis does not answer, calls end at their deadlines. Nothing else would end them in time, as
/// the bucket is more patient than the test. The reason of a rejection depends on what comes first on
/// a busy machine: the deadline, or the sign that Redis is away. Sooner or later the sign comes
/// first.
pub(crate) async fn no_call_outlives_its_deadline(bucket: &RedisBucket) {
    let bucket = bucket.clone().with_patience(10 * BOUND);
    let rejected_after = async |patience| {
        let deadline = Instant::now() + Duration::from_millis(patience);
        let ask = Ask::new(NonZeroU32::MIN).with_latest(deadline, RejectReason::Deadline);
        let outcome = timeout(BOUND, send(&bucket, &ask)).await;
        let rejected = outcome.expect("an end at the deadline").unwrap_err();
        rejected.reason()
    };
    for patience in [50, 200, 700] {
        let reason = rejected_after(patience).await;
        let expected = [RejectReason::Unavailable, RejectReason::Deadline];
        assert!(expected.contains(&reason), "{reason:?} after {patience} ms");
    }
    let end = Instant::now() + BOUND;
    while rejected_after(700).await != RejectReason::Unavailable {
        assert!(Instant::now() < end, "{:?}", bucket.last_error());
    }
}

#[tokio::test]
async fn no_call_outlives_its_deadline_where_nobody_listens() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    redis.kill();
    no_call_outlives_its_deadline(&bucket(&redis.url(), quota())).await;
}

#[tokio::test]
async fn no_call_outlives_its_deadline_where_nobody_answers() {
    let Some(redis) = Redis::start() else { return };
    redis.pause();
    no_call_outlives_its_deadline(&bucket(&redis.url(), quota())).await;
}

#[test]
fn calls_without_a_deadline_wait_for_the_stated_patience() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let fleet = Fleet::start(WORKERS, Load::default(), |_| {
        bucket(&redis.url(), quota()).with_patience(Duration::from_millis(300))
    });
    fleet.each_sends(20);
    redis.kill();
    fleet.rejects(50, RejectReason::Unavailable);
    redis.restart();
    fleet.each_sends(20);
    fleet.stop().assert_within(quota());
}

/// Half of the rate is kept back for workers that are cut off.
fn shared() -> LocalShare {
    LocalShare::new(0.5, NonZeroU32::new(4).unwrap()).unwrap()
}

#[test]
fn workers_that_are_cut_off_go_on_with_their_share() {
    let Some(redis) = Redis::start() else { return };
    let mut wires: Vec<_> = (0..WORKERS).map(|_| Wire::to(redis.address())).collect();
    let fleet = Fleet::start(WORKERS, Load::default(), |number| {
        let bucket = bucket(&wires[number].redis_url(), quota());
        bucket.with_local_share(shared()).unwrap()
    });
    fleet.each_sends(20);
    // The workers are cut off one by one, until all of them are.
    while wires.pop().is_some() {
        fleet.each_sends(20);
    }
    fleet.stop().assert_within(quota());
}

#[test]
fn workers_with_a_share_go_on_through_an_outage_of_all() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let fleet = Fleet::start(WORKERS, Load::default(), |_| {
        let bucket = bucket(&redis.url(), quota());
        bucket.with_local_share(shared()).unwrap()
    });
    fleet.each_sends(20);
    redis.kill();
    fleet.each_sends(20);
    redis.restart();
    fleet.each_sends(20);
    redis.pause();
    fleet.each_sends(20);
    redis.resume();
    fleet.each_sends(20);
    fleet.stop().assert_within(quota());
}

#[test]
fn a_bucket_that_fails_open_limits_nothing_while_redis_is_away_and_all_when_it_is_back() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let load = Load {
        callers: 4,
        rest: Duration::from_millis(5),
        ..Load::default()
    };
    let slow = rate(20, 10);
    let buckets = [0; WORKERS].map(|_| bucket(&redis.url(), slow).fail_open());
    let fleet = Fleet::start(WORKERS, load, |number| buckets[number].clone());
    fleet.each_sends(1);
    redis.kill();
    let away = machine_clock();
    fleet.each_sends(100);
    assert!(!since(fleet.sends(), away).worst(slow).unwrap().is_within());
    redis.restart();
    // All workers have noticed, and the calls that were let through before are sent.
    let is_back = |bucket: &RedisBucket| bucket.gauges().is_connected();
    assert!(await_that(|| buckets.iter().all(is_back)));
    fleet.each_sends(load.callers);
    let back = machine_clock();
    fleet.each_sends(4);
    since(&fleet.stop(), back).assert_within(slow);
}
