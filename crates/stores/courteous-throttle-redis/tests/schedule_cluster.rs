//! A fault of one key's node does not affect the keys of other nodes.

#![cfg(feature = "cluster")]

use std::{future::poll_fn, num::NonZeroU32, pin::pin, time::Duration};

use courteous_core::RejectReason;
use courteous_limit::{Ask, Take, TokenStore, Turn};
use courteous_test_servers::RedisCluster;
use courteous_throttle_redis::{Rate, Redis, RedisBucket};
use tokio::{task::JoinSet, time::Instant};

/// Whether a call is sent within `limit`.
async fn sends(bucket: &RedisBucket, limit: Duration) -> bool {
    let ask = Ask::new(NonZeroU32::MIN).with_latest(Instant::now() + limit, RejectReason::Deadline);
    match bucket.take(&ask) {
        Take::Taken => true,
        Take::Rejected(_) => false,
        Take::Wait(turn) => {
            let mut turn = pin!(turn);
            while poll_fn(|cx| turn.as_mut().poll(cx)).await.is_ok() {
                if turn.as_mut().spend() {
                    return true;
                }
            }
            false
        }
    }
}

/// For each bucket, whether a call is sent within `limit`. All calls are made at once.
async fn sending(buckets: &[RedisBucket], limit: Duration) -> Vec<bool> {
    let mut tasks = JoinSet::new();
    for (i, bucket) in buckets.iter().cloned().enumerate() {
        tasks.spawn(async move { (i, sends(&bucket, limit).await) });
    }
    let mut sent = tasks.join_all().await;
    sent.sort_unstable();
    sent.into_iter().map(|(_, sent)| sent).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_holds_up_its_own_keys_only() {
    let Some(mut cluster) = RedisCluster::start() else {
        return;
    };
    for node in cluster.nodes() {
        let others_go_on = ["CONFIG", "SET", "cluster-require-full-coverage", "no"];
        node.command(&others_go_on).unwrap();
    }
    let redis = Redis::cluster(cluster.urls()).unwrap();
    let burst = NonZeroU32::new(20).unwrap();
    let rate = Rate::new(100, Duration::from_secs(1)).unwrap();
    // With this many keys, each of the three nodes has some.
    let buckets: Vec<_> = (0..30)
        .map(|key| RedisBucket::new(&redis, &format!("key{key}"), rate.with_burst(burst)))
        .collect();
    let long = Duration::from_secs(60);
    assert_eq!(sending(&buckets, long).await, [true; 30]);
    cluster.nodes_mut()[0].kill();
    // Slots that are leased are good for a horizon and a lease.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut sent = Vec::new();
    for _ in 0..2 {
        sent = sending(&buckets, Duration::from_secs(6)).await;
        let spared = sent.iter().filter(|&&sent| sent).count();
        assert!((8..30).contains(&spared), "{spared} of 30 keys");
    }
    // The other keys may notice that the connection was replaced, but not each time that the node
    // is tried.
    let failures = |are_sent: bool| {
        let keys = buckets.iter().zip(&sent);
        let keys = keys.filter(move |&(_, &sent)| sent == are_sent);
        keys.map(|(bucket, _)| bucket.gauges().failures())
    };
    let (spared, gone) = (failures(true).max(), failures(false).min());
    assert!(spared.map(|most| 2 * most) <= gone, "{spared:?}, {gone:?}");
    cluster.nodes_mut()[0].restart();
    assert_eq!(sending(&buckets, long).await, [true; 30]);
}
