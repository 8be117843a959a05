//! Runtimes, tasks and keys.

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

#[test]
fn a_bucket_serves_two_runtimes_in_turn() {
    let bucket = RedisBucket::new(&paused(async { redis() }).open(), "static", rate(100, 10));
    for _ in 0..2 {
        paused(async {
            timeout(
                ms(5_000),
                send(&bucket, &one(), &Sent::default(), Duration::ZERO),
            )
            .await
            .unwrap()
            .unwrap();
        });
    }
}

#[test]
fn a_runtime_that_takes_over_is_a_worker_of_its_own() {
    let redis = paused(async { redis() });
    let bucket = RedisBucket::new(&redis.open(), "static", rate(100, 10));
    let ids = [(); 2].map(|()| {
        paused(async {
            let sent = Sent::default();
            // These are more calls than slots are leased at once, so Redis is called.
            for _ in 0..20 {
                send(&bucket, &one(), &sent, Duration::ZERO).await.unwrap();
            }
        });
        let calls = std::mem::take(&mut redis.state().calls);
        let mut ids: Vec<_> = calls.iter().map(|call| call.worker).collect();
        ids.dedup();
        ids
    });
    assert_eq!((ids[0].len(), ids[1].len()), (1, 1), "{ids:?}");
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_runtime_that_nobody_drives_holds_up_no_other() {
    let (idle, other) = (runtime(), runtime());
    let redis = idle.block_on(async { redis() });
    let bucket = RedisBucket::new(&redis.open(), "static", rate(100, 10));
    // The task is on the idle runtime from here on.
    let waiting = idle.block_on(async { bucket.take(&one()) });
    other.block_on(async {
        timeout(
            ms(60_000),
            send(
                &bucket,
                &one().with_latest(Instant::now() + ms(50_000), RejectReason::MaxWait),
                &Sent::default(),
                Duration::ZERO,
            ),
        )
        .await
        .unwrap()
        .unwrap();
    });
    drop(waiting);
}

#[test]
fn a_call_on_a_runtime_that_nobody_drives_is_made_anew_on_another() {
    let (idle, other) = (runtime(), runtime());
    let redis = idle.block_on(async { redis() });
    let bucket = RedisBucket::new(&redis.open(), "static", rate(100, 10));
    // The call is on its way when the runtime stands still.
    let waiting = idle.block_on(async {
        let waiting = bucket.take(&one());
        tokio::task::yield_now().await;
        waiting
    });
    assert_eq!(bucket.gauges().calls(), 1);
    other.block_on(async {
        let start = Instant::now();
        let ask = one().with_latest(start + ms(20_000), RejectReason::MaxWait);
        send(&bucket, &ask, &Sent::default(), Duration::ZERO)
            .await
            .unwrap();
        assert!(start.elapsed() < ms(6_000), "{:?}", start.elapsed());
    });
    drop(waiting);
}

#[test]
fn the_task_ends_with_the_last_handle() {
    paused(async {
        let redis = redis();
        let metrics = tokio::runtime::Handle::current().metrics();
        assert_eq!(metrics.num_alive_tasks(), 0);
        let bucket = warm(&redis, 100, 10).await;
        let clone = bucket.clone();
        assert_eq!(metrics.num_alive_tasks(), 1);
        drop(bucket);
        sleep(ms(100)).await;
        assert_eq!(metrics.num_alive_tasks(), 1);
        drop(clone);
        sleep(ms(100)).await;
        assert_eq!(metrics.num_alive_tasks(), 0);
    });
}

#[test]
fn keys_have_buckets_of_their_own_and_are_forgotten() {
    paused(async {
        let redis = redis();
        let template = RedisBucket::new(&redis.open(), "keyed", rate(100, 10));
        let key_of = |head: courteous_core::RequestView<'_>| head.uri().path().to_owned();
        let keyed = RedisKeyed::new(template, key_of).with_max_keys(1_000.try_into().unwrap());
        let select = |path: String| {
            let request = http::Request::builder().uri(path).body(()).unwrap();
            courteous_limit::Partition::select(&keyed, courteous_core::RequestView::of(&request))
        };
        for key in 0..3_000 {
            let bucket = select(format!("/{key}"));
            if key % 500 == 0 {
                send(&bucket, &one(), &Sent::default(), Duration::ZERO)
                    .await
                    .unwrap();
                // A key at which nothing waits is not shown, but it still shows that Redis answers.
                let snapshot = keyed.snapshot();
                assert!(snapshot.buckets.is_empty());
                assert_eq!(snapshot.store.unwrap().connected, Some(true));
            }
            sleep(ms(1)).await;
        }
        assert!(keyed.len() <= 1_000, "{}", keyed.len());
        let held: Vec<_> = (0..1_000)
            .map(|key| select(format!("/held/{key}")))
            .collect();
        assert!(keyed.len() <= 1_000, "{}", keyed.len());
        // A key without room is known to this process only for the call, but Redis knows it. So it
        // keeps to the rate.
        let last = || "/one/more".to_owned();
        let sent = Sent::default();
        for _ in 0..20 {
            send(&select(last()), &one(), &sent, Duration::ZERO)
                .await
                .unwrap();
        }
        assert!(keyed.get(&last()).is_none());
        assert!(
            sent.excess(rate(100, 10)) <= 0,
            "{}",
            sent.excess(rate(100, 10))
        );
        drop(held);
        sleep(ms(10)).await;
        drop(select(last()));
        assert!(keyed.get(&last()).is_some());
    });
}
