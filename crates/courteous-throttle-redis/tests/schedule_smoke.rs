//! A first look at a real server.

use std::{num::NonZeroU32, time::Duration};

use courteous_core::{Ask, Store, Take, Turn};
use courteous_throttle_redis::{Rate, Redis, RedisBucket};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let Ok(url) = std::env::var("SMOKE_URL") else {
        return;
    };
    let rate = Rate::new(2000, Duration::from_secs(1))
        .unwrap()
        .with_burst(NonZeroU32::new(200).unwrap());
    let start = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..8 {
        let redis = Redis::open(&url).unwrap();
        let bucket = RedisBucket::new(&redis, "smoke", rate);
        workers.push(bucket);
    }
    let mut tasks = Vec::new();
    for bucket in &workers {
        for _ in 0..50 {
            let bucket = bucket.clone();
            tasks.push(tokio::spawn(async move {
                let mut sent = 0;
                while start.elapsed() < Duration::from_secs(5) {
                    match bucket.take(&Ask::new(NonZeroU32::MIN)) {
                        Take::Taken => sent += 1,
                        Take::Wait(turn) => {
                            let mut turn = std::pin::pin!(turn);
                            loop {
                                std::future::poll_fn(|cx| turn.as_mut().poll(cx))
                                    .await
                                    .unwrap();
                                if turn.as_mut().spend() {
                                    break;
                                }
                            }
                            sent += 1;
                        }
                        Take::Refused(rejected) => panic!("{rejected}"),
                    }
                }
                sent
            }));
        }
    }
    let mut per = vec![0; 8];
    for (i, task) in tasks.into_iter().enumerate() {
        per[i / 50] += task.await.unwrap();
    }
    let calls: u64 = workers.iter().map(|bucket| bucket.gauges().calls()).sum();
    let total: u64 = per.iter().sum();
    println!(
        "{per:?} total {total} calls {calls} per request {}",
        calls as f64 / total as f64
    );
    println!("{:?} {:?}", workers[0].gauges(), workers[0].last_fault());
}
