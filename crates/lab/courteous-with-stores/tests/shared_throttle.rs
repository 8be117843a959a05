//! Standard stacks share one quota at each origin. Each stack has its own connections, as if in its
//! own process.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::num::NonZeroU32;

use bytes::Bytes;
use courteous::{Courteous, Stack, throttle::ThrottleLayer};
use courteous_testkit::Probe;
use courteous_throttle_redis::{Rate, Redis, RedisBucket, RedisPerOrigin};
use http::Request;
use http_body_util::Full;
use tokio::{task::JoinSet, time::Instant};
use tower::ServiceExt;

const STACKS: u32 = 2;
const CALLS: u32 = 60;

fn stacked(url: &str, rate: Rate, probe: &Probe) -> Courteous<Probe, RedisPerOrigin> {
    let bucket = RedisBucket::new(&Redis::open(url).unwrap(), "stack", rate);
    let throttle = ThrottleLayer::of(RedisPerOrigin::per_origin(bucket));
    let stack = Stack::new().with_throttle(throttle).build().unwrap();
    stack.layer(probe.clone())
}

#[tokio::test]
async fn stacks_share_a_quota_for_each_origin() {
    let Some(redis) = courteous_test_servers::Redis::start() else {
        return;
    };
    let (per_second, burst) = (100, NonZeroU32::new(20).unwrap());
    let rate = Rate::per_second(f64::from(per_second)).unwrap();
    let probe = Probe::new();
    let start = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..STACKS {
        let client = stacked(&redis.url(), rate.with_burst(burst), &probe);
        for uri in ["http://one.test/", "http://two.test/"] {
            for _ in 0..CALLS {
                let request = Request::get(uri).body(Full::<Bytes>::default()).unwrap();
                calls.spawn(client.clone().oneshot(request));
            }
        }
    }
    while let Some(response) = calls.join_next().await {
        assert_eq!(response.unwrap().unwrap().status(), 200);
    }
    // All were sent between the start and now, half of them to each origin.
    let allowed = f64::from(burst.get()) + f64::from(per_second) * start.elapsed().as_secs_f64();
    assert!(f64::from(STACKS * CALLS) <= allowed);
    assert_eq!(probe.calls(), usize::try_from(2 * STACKS * CALLS).unwrap());
    let buckets = redis.command(&["KEYS", "courteous:*}"]).unwrap();
    assert_eq!(buckets.lines().count(), 2, "{buckets}");
}
