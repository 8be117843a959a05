//! Whole workers around the model of the script, on the paused clock: late, lost, restarted, and counted.

use std::{num::NonZeroU32, time::Duration};

use courteous_core::{Ask, Rate, RejectReason, Store};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    LocalShare, RedisBucket,
    fake::Fake,
    sent::{Sent, paused, send},
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
                // Each needs a part of the burst.
                share: share && u64::from(burst) > workers,
            },
        )
}

/// Callers of one worker: in a crowd or now and then, patient or not, dropped in all states.
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

/// What goes wrong.
async fn chaos(redis: Fake, ways: Vec<Fake>, buckets: Vec<RedisBucket>, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    loop {
        sleep(Duration::from_millis(rng.random_range(1..1_500))).await;
        match rng.random_range(0..12) {
            0 => redis.flush(),
            1 => redis.restart(),
            2 => redis.state().offset -= rng.random_range(0..20_000_000),
            3 => {
                // Only who saw the clock before can tell.
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
                Store::pace(&buckets[0], rng.random_range(1..100), reset);
            }
            8 => {
                redis.keep();
                sleep(Duration::from_millis(rng.random_range(1..1_500))).await;
                redis.restore(&buckets);
            }
            // Some are cut off, until the next time.
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

    /// The promise, for bursts from 1 to 50: whatever is late, lost, dropped, closed, cut off, or wrong about the time.
    #[test]
    fn no_window_sees_more_than_the_burst_and_the_rate(scene in scene()) {
        let (rate, sent) = paused(run(scene));
        let excess = sent.excess(rate);
        prop_assert!(excess <= 0, "{excess} above the bound, of {}", sent.total());
    }
}
