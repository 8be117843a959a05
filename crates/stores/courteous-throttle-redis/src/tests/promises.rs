//! Tests of each promise, on the paused clock.

mod away;
mod fair;
mod life;
mod queue;
mod told;

use std::{num::NonZeroU32, pin::pin, time::Duration};

use courteous_core::RejectReason;
use courteous_limit::{Ask, Take, TokenStore, Turn};
use courteous_test_servers::jain_index;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    LocalShare, RedisBucket, RedisKeyed,
    tests::{
        fake::Fake,
        sent::{Sent, ms, one, paused, rate, send},
    },
};

fn redis() -> Fake {
    let redis = Fake::new(7);
    redis.state().delay = ms(1);
    redis
}

/// A bucket that has had its cold start.
async fn warm(redis: &Fake, tokens: u32, burst: u32) -> RedisBucket {
    let bucket = RedisBucket::new(&redis.open(), "warm", rate(tokens, burst));
    send(&bucket, &one(), &Sent::default(), Duration::ZERO)
        .await
        .unwrap();
    bucket
}

/// Callers that always want more.
fn crowd(bucket: &RedisBucket, sent: &Sent, callers: usize, tasks: &mut JoinSet<()>) {
    for _ in 0..callers {
        let (bucket, sent) = (bucket.clone(), sent.clone());
        tasks.spawn(async move {
            loop {
                if send(&bucket, &one(), &sent, Duration::ZERO).await.is_err() {
                    sleep(ms(1)).await;
                }
                tokio::task::yield_now().await;
            }
        });
    }
}

async fn crowds(
    redis: &Fake,
    workers: usize,
    tokens: u32,
    burst: u32,
) -> (JoinSet<()>, Vec<(RedisBucket, Sent)>) {
    let mut tasks = JoinSet::new();
    let workers = (0..workers).map(|_| {
        let bucket = RedisBucket::new(&redis.open(), "crowd", rate(tokens, burst));
        let sent = Sent::default();
        crowd(&bucket, &sent, 20, &mut tasks);
        (bucket, sent)
    });
    let workers = workers.collect();
    // The cold start.
    sleep(ms(2_000)).await;
    (tasks, workers)
}
