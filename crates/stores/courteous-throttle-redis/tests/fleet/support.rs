//! What the tests of a fleet share.

use std::{num::NonZeroU32, time::Duration};

use courteous_core::{Rate, RejectReason, Rejected};
use courteous_limit::Ask;
use courteous_test_servers::{BOUND, Redis, Sends, send};
use courteous_throttle_redis::RedisBucket;
use tokio::time;

/// `tokens` per second.
pub(crate) fn rate(tokens: u32, burst: u32) -> Rate {
    Rate::per_second(f64::from(tokens))
        .unwrap()
        .with_burst(NonZeroU32::new(burst).unwrap())
}

/// The quota of a fleet in most tests: 500 per second, burst 50. A lease lasts 50 ms, and a cold
/// start 550 ms.
pub(crate) fn quota() -> Rate {
    rate(500, 50)
}

/// Makes a handle of the Redis at `url`, with its own connection.
pub(crate) fn link(url: &str) -> courteous_throttle_redis::Redis {
    courteous_throttle_redis::Redis::open(url).unwrap()
}

/// A worker's handle of the bucket that all tests use.
pub(crate) fn bucket(url: &str, rate: Rate) -> RedisBucket {
    RedisBucket::new(&link(url), "fleet", rate)
}

/// Sends one call. A busy machine may be too slow for the first connections.
pub(crate) async fn send_one(bucket: &RedisBucket) {
    let end = time::Instant::now() + BOUND;
    while let Err(rejected) = send_in_time(bucket).await {
        let fault = bucket.last_error();
        assert_eq!(rejected.reason(), RejectReason::Unavailable, "{fault:?}");
        assert!(time::Instant::now() < end, "{fault:?}");
        time::sleep(Duration::from_millis(50)).await;
    }
}

/// Makes calls that are rejected, as there is no way to Redis, until the fault contains `text`.
/// Returns the fault. On a busy machine a connection may first be too slow, which is another fault.
pub(crate) async fn fault(bucket: &RedisBucket, text: &str) -> String {
    let end = time::Instant::now() + BOUND;
    loop {
        let rejected = send_in_time(bucket).await.unwrap_err();
        assert_eq!(rejected.reason(), RejectReason::Unavailable);
        let fault = String::from(&*bucket.last_error().expect("a fault"));
        if fault.contains(text) {
            return fault;
        }
        assert!(time::Instant::now() < end, "{fault}");
        time::sleep(Duration::from_millis(50)).await;
    }
}

async fn send_in_time(bucket: &RedisBucket) -> Result<(u64, u64), Rejected> {
    let ask = Ask::new(NonZeroU32::MIN);
    time::timeout(BOUND, send(bucket, &ask))
        .await
        .expect("an end")
}

/// Returns the calls that were sent from an instant on.
pub(crate) fn since(sends: &Sends, start: u64) -> Sends {
    let later = Sends::new();
    let all = sends.all().into_iter();
    all.filter(|sent| sent.after >= start)
        .for_each(|sent| later.push(sent));
    later
}

/// How many scripts a Redis has run, as it counts them itself.
pub(crate) fn script_calls(redis: &Redis) -> u64 {
    let calls = |command: &str| {
        let stats = redis.info(command).ok()?;
        stats
            .strip_prefix("calls=")?
            .split(',')
            .next()?
            .parse::<u64>()
            .ok()
    };
    let commands = ["cmdstat_evalsha", "cmdstat_eval", "cmdstat_fcall"];
    commands.iter().filter_map(|command| calls(command)).sum()
}
