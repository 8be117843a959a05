//! Runs whole workers around the model of the script, on the paused clock. Answers are late or
//! lost, Redis restarts, and every call that was sent is counted.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use courteous_core::{Rate, RejectReason};
use courteous_limit::{Ask, TokenStore};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    LocalShare, RedisBucket,
    terms::Terms,
    tests::{
        fake::Fake,
        sent::{Sent, paused, send},
    },
};

#[derive(Clone, Copy, Debug)]
struct Scene {
    seed: u64,
    interval: Duration,
    burst: u32,
    workers: u64,
    delay: Duration,
    lost: u32,
    chaos: bool,
    share: bool,
}

fn scene() -> impl Strategy<Value = Scene> {
    (
        any::<u64>(),
        1_u64..60,
        1_u32..=50,
        1_u64..6,
        0_u64..12,
        0_u32..5,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(seed, interval, burst, workers, delay, lost, chaos, share)| Scene {
                seed,
                interval: Duration::from_millis(interval),
                burst,
                workers,
                delay: Duration::from_millis(delay),
                lost,
                chaos,
                // Each worker needs a part of the burst.
                share: share && u64::from(burst) > workers,
            },
        )
}

/// Makes the calls of one worker: in a crowd or now and then, patient or not, dropped in all
/// states.
async fn calls(bucket: RedisBucket, sent: Sent, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let busy: bool = rng.random();
    loop {
        if !busy || rng.random_range(0..20) == 0 {
            sleep(Duration::from_millis(rng.random_range(0..300))).await;
        }
        let cost = if rng.random_range(0..10) == 0 {
            rng.random_range(1..=bucket.max_cost())
        } else {
            1
        };
        let mut ask = Ask::new(NonZeroU32::new(cost).unwrap());
        if rng.random_range(0..5) == 0 {
            let latest = Instant::now() + Duration::from_millis(rng.random_range(0..900));
            ask = ask.with_latest(latest, RejectReason::MaxWait);
        }
        let lazy = match rng.random_range(0..12) {
            0 => Duration::from_millis(rng.random_range(1..900)),
            _ => Duration::ZERO,
        };
        let patience = Duration::from_millis(rng.random_range(1..2_000));
        if let Ok(Err(reason)) = timeout(patience, send(&bucket, &ask, &sent, lazy)).await {
            assert_ne!(reason, RejectReason::CostAboveBurst);
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Causes faults.
async fn chaos(redis: Fake, ways: Vec<Fake>, buckets: Vec<RedisBucket>, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    loop {
        sleep(Duration::from_millis(rng.random_range(1..1_500))).await;
        match rng.random_range(0..12) {
            0 => redis.flush(),
            1 => redis.restart(),
            2 => redis.state().offset -= rng.random_range(0..20_000_000),
            3 => {
                // Only a worker that saw the clock before can notice the step.
                let run = redis.state().run;
                let ready = buckets.iter().all(|bucket| bucket.has_seen(run));
                if ready {
                    redis.state().offset += rng.random_range(5_000_000..20_000_000);
                }
            }
            4 => {
                redis.state().away = true;
                sleep(Duration::from_millis(rng.random_range(1..1_500))).await;
                redis.state().away = false;
            }
            5 => {
                redis.state().hung = true;
                sleep(Duration::from_millis(rng.random_range(1..1_500))).await;
                redis.state().hung = false;
            }
            6 => {
                let pause = Duration::from_millis(rng.random_range(1..900));
                let bucket = &buckets[rng.random_range(0..buckets.len())];
                bucket.close_until(Instant::now() + pause);
            }
            7 => {
                let reset = Duration::from_millis(rng.random_range(1..2_000));
                TokenStore::pace(&buckets[0], rng.random_range(1..100), reset);
            }
            8 => {
                redis.keep();
                sleep(Duration::from_millis(rng.random_range(1..1_500))).await;
                redis.restore(&buckets);
            }
            // Some workers are cut off, until the next such fault.
            _ => ways.iter().for_each(|way| way.cut(rng.random())),
        }
    }
}

async fn run(scene: Scene) -> (Rate, Sent) {
    let rate = Rate::new(1, scene.interval).unwrap();
    let rate = rate.with_burst(NonZeroU32::new(scene.burst).unwrap());
    let redis = Fake::new(scene.seed);
    redis.state().delay = scene.delay;
    redis.state().lost = scene.lost;
    let sent = Sent::default();
    let (mut ways, mut buckets) = (Vec::new(), Vec::new());
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..scene.workers {
        let way = redis.way();
        let mut bucket = RedisBucket::new(&way.open(), "simulated", rate);
        if scene.share {
            let workers = u32::try_from(scene.workers).unwrap();
            let share = LocalShare::new(0.5, workers.try_into().unwrap()).unwrap();
            bucket = bucket.with_local_share(share).unwrap();
        }
        for caller in 0..6 {
            let seed = scene.seed.wrapping_add(worker * 100 + caller);
            tasks.spawn(calls(bucket.clone(), sent.clone(), seed));
        }
        ways.push(way);
        buckets.push(bucket);
    }
    if scene.chaos {
        tasks.spawn(chaos(redis, ways, buckets, scene.seed));
    }
    sleep(Duration::from_secs(8)).await;
    tasks.abort_all();
    while let Some(ended) = tasks.join_next().await {
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }
    (rate, sent)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Checks the promise for bursts from 1 to 50, whatever is late, lost, dropped, closed, cut
    /// off, or wrong about the time.
    #[test]
    fn no_window_sees_more_than_the_burst_and_the_rate(scene in scene()) {
        let (rate, sent) = paused(run(scene));
        let excess = sent.excess(rate);
        prop_assert!(excess <= 0, "{excess} above the bound, of {}", sent.total());
    }
}

/// The most time that a fault costs beyond its own time. This is a call that is not answered, the
/// longest pause before the next call, and a cold start, with a lease that is lost.
fn recovery(rate: Rate) -> Duration {
    let terms = Terms::of(rate);
    let cold_start = terms.horizon_time() + terms.lease_time().max(terms.spacing_time());
    Duration::from_millis(500) + Duration::from_secs(1) + cold_start + terms.lease_time()
}

/// Causes faults, with pauses. Adds to `lost` the time for which each fault may hold up the
/// workers.
async fn faults(
    redis: Fake,
    ways: Vec<Fake>,
    buckets: Vec<RedisBucket>,
    mut rng: SmallRng,
    lost: Arc<Mutex<Duration>>,
    recovery: Duration,
) {
    loop {
        sleep(Duration::from_millis(rng.random_range(0..6_000))).await;
        let time = Duration::from_millis(rng.random_range(1..2_000));
        *lost.lock().unwrap() += time + recovery;
        match rng.random_range(0..9) {
            0 => redis.flush(),
            1 => redis.restart(),
            2 => redis.state().offset -= rng.random_range(0..20_000_000),
            3 => redis.state().offset += rng.random_range(5_000_000..20_000_000),
            4 => buckets[0].close_until(Instant::now() + time),
            5 => {
                redis.state().away = true;
                sleep(time).await;
                redis.state().away = false;
            }
            6 => {
                redis.state().hung = true;
                sleep(time).await;
                redis.state().hung = false;
            }
            7 => {
                redis.state().lost = 50;
                sleep(time).await;
                redis.state().lost = 0;
            }
            _ => {
                ways.iter().for_each(|way| way.cut(rng.random()));
                sleep(time).await;
                ways.iter().for_each(|way| way.cut(false));
            }
        }
    }
}

/// How many tokens were sent under faults, and how many had to be.
async fn under_faults(seed: u64, burst: u32, has_deadlines: bool) -> (u64, f64) {
    const TIME: Duration = Duration::from_secs(30);
    let rate = Rate::new(500, Duration::from_secs(1)).unwrap();
    let rate = rate.with_burst(NonZeroU32::new(burst).unwrap());
    let redis = Fake::new(seed);
    redis.state().delay = Duration::from_millis(1);
    let sent = Sent::default();
    let (mut ways, mut buckets) = (Vec::new(), Vec::new());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let way = redis.way();
        let bucket = RedisBucket::new(&way.open(), "simulated", rate);
        for _ in 0..10 {
            let (bucket, sent) = (bucket.clone(), sent.clone());
            tasks.spawn(async move {
                loop {
                    let mut ask = Ask::new(NonZeroU32::MIN);
                    if has_deadlines {
                        let latest = Instant::now() + Duration::from_millis(300);
                        ask = ask.with_latest(latest, RejectReason::Deadline);
                    }
                    if send(&bucket, &ask, &sent, Duration::ZERO).await.is_err() {
                        sleep(Duration::from_millis(10)).await;
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        ways.push(way);
        buckets.push(bucket);
    }
    let effective = buckets[0].effective_rate();
    // The first schedule begins empty.
    let lost = Arc::new(Mutex::new(recovery(rate)));
    let (rng, recovery) = (SmallRng::seed_from_u64(seed), recovery(rate));
    tasks.spawn(faults(
        redis,
        ways,
        buckets,
        rng,
        Arc::clone(&lost),
        recovery,
    ));
    sleep(TIME).await;
    tasks.shutdown().await;
    let lost = *lost.lock().unwrap();
    let good = TIME.saturating_sub(lost).as_secs_f64();
    (sent.total(), good / effective.interval().as_secs_f64())
}

/// A burst below `1 + rate * 20 ms` makes the rate slower. Nothing else makes it slower for longer
/// than a fault and its recovery.
#[test]
fn under_faults_the_effective_rate_is_reached_in_all_of_the_time_between_them() {
    let mut needed = 0.0;
    for seed in 0..28 {
        let burst = [1, 2, 3, 5, 10, 50, 200][seed as usize % 7];
        let (sent, floor) = paused(under_faults(seed, burst, seed % 2 == 0));
        assert!(
            sent as f64 >= 0.95 * floor,
            "{sent} of {floor:.0} in {seed}, burst {burst}"
        );
        needed += floor;
    }
    assert!(needed > 10_000.0, "{needed:.0}: nothing but faults");
}
