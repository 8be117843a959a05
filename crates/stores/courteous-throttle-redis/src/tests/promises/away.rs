//! While Redis is away, or slow.

use super::*;

#[test]
fn without_redis_a_call_is_rejected_at_its_deadline_and_not_before() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 10, 1).await;
        for hung in [false, true] {
            redis.state().away = !hung;
            redis.state().hung = hung;
            for reason in [RejectReason::Deadline, RejectReason::MaxWait] {
                sleep(ms(1_000)).await;
                let start = Instant::now();
                let ask = one().with_latest(start + ms(300), reason);
                let rejected = send(&bucket, &ask, &Sent::default(), Duration::ZERO).await;
                assert_eq!(rejected, Err(RejectReason::Unavailable), "{hung}");
                assert_eq!(start.elapsed(), ms(300));
            }
        }
        assert!(bucket.last_error().is_some());
        // Redis comes back.
        redis.state().hung = false;
        sleep(ms(1_500)).await;
        timeout(
            ms(3_000),
            send(&bucket, &one(), &Sent::default(), Duration::ZERO),
        )
        .await
        .unwrap()
        .unwrap();
        assert!(bucket.gauges().is_connected());
    });
}

#[test]
fn without_redis_and_without_a_deadline_patience_ends() {
    paused(async {
        let redis = redis();
        redis.state().away = true;
        let bucket = RedisBucket::new(&redis.open(), "away", rate(10, 1)).with_patience(ms(2_000));
        let start = Instant::now();
        let rejected = send(&bucket, &one(), &Sent::default(), Duration::ZERO).await;
        assert_eq!(rejected, Err(RejectReason::Unavailable));
        assert!((ms(2_000)..ms(2_010)).contains(&start.elapsed()));
        // The next call need not wait for that.
        let start = Instant::now();
        let rejected = send(&bucket, &one(), &Sent::default(), Duration::ZERO).await;
        assert_eq!(
            (rejected, start.elapsed()),
            (Err(RejectReason::Unavailable), ms(0))
        );
        // No call is rejected for an outage that was long ago.
        redis.state().away = false;
        sleep(ms(2_000)).await;
        send(&bucket, &one(), &Sent::default(), Duration::ZERO)
            .await
            .unwrap();
    });
}

#[test]
fn a_bucket_that_fails_open_limits_nothing_while_redis_is_away() {
    paused(async {
        let redis = redis();
        redis.state().away = true;
        let bucket = RedisBucket::new(&redis.open(), "open", rate(10, 1)).fail_open();
        let start = Instant::now();
        for _ in 0..100 {
            send(&bucket, &one(), &Sent::default(), Duration::ZERO)
                .await
                .unwrap();
        }
        assert!(start.elapsed() < ms(10));
        redis.state().away = false;
        sleep(ms(1_500)).await;
        // The first call finds that Redis is away.
        send(&bucket, &one(), &Sent::default(), Duration::ZERO)
            .await
            .unwrap();
        sleep(ms(100)).await;
        assert!(bucket.gauges().is_connected());
        let start = Instant::now();
        for _ in 0..5 {
            send(&bucket, &one(), &Sent::default(), Duration::ZERO)
                .await
                .unwrap();
        }
        assert!(start.elapsed() > ms(400));
    });
}

#[test]
fn with_local_shares_no_partition_exceeds_the_rate() {
    paused(async {
        let (connected, cut) = (redis(), redis());
        let share = LocalShare::new(0.5, NonZeroU32::new(4).unwrap()).unwrap();
        let (rate, sent) = (rate(100, 20), Sent::default());
        let mut tasks = JoinSet::new();
        let buckets: Vec<_> = [&connected, &connected, &cut, &cut]
            .iter()
            .map(|redis| {
                let bucket = RedisBucket::new(&redis.open(), "share", rate);
                let bucket = bucket.with_local_share(share).unwrap();
                crowd(&bucket, &sent, 20, &mut tasks);
                bucket
            })
            .collect();
        cut.state().away = true;
        sleep(ms(5_000)).await;
        let start = Instant::now();
        sleep(ms(10_000)).await;
        // Redis grants 50/s, and two workers use 12.5/s each.
        let count = sent.since(start);
        assert!((735..=770).contains(&count), "{count}");
        connected.state().away = true;
        sleep(ms(5_000)).await;
        cut.state().away = false;
        sleep(ms(5_000)).await;
        assert!(sent.excess(rate) <= 0, "{}", sent.excess(rate));
        let effective = buckets[0].effective_rate();
        assert!(effective.interval() >= ms(20), "{effective:?}");
    });
}

#[test]
fn a_dropped_waiter_gives_its_local_share_back() {
    paused(async {
        let redis = redis();
        redis.state().away = true;
        let share = LocalShare::new(0.5, NonZeroU32::MIN).unwrap();
        let bucket = RedisBucket::new(&redis.open(), "share", rate(1, 4));
        let bucket = bucket.with_local_share(share).unwrap();
        // The share starts empty, with 1 token in 2 s, so the first two calls wait.
        let waiting = || match bucket.take(&one()) {
            Take::Wait(turn) => Box::pin(turn),
            _ => panic!("it starts empty"),
        };
        let (mut first, mut second) = (waiting(), waiting());
        let start = Instant::now();
        std::future::poll_fn(|cx| first.as_mut().poll(cx))
            .await
            .unwrap();
        assert_eq!(start.elapsed(), ms(2_000));
        drop(first);
        std::future::poll_fn(|cx| second.as_mut().poll(cx))
            .await
            .unwrap();
        assert!(second.as_mut().spend());
        assert_eq!(
            start.elapsed(),
            ms(2_000),
            "it got what the first gave back"
        );
    });
}

#[test]
fn a_rate_that_is_set_again_and_again_leaves_the_local_share_alone() {
    paused(async {
        let redis = redis();
        redis.state().away = true;
        let share = LocalShare::new(0.5, NonZeroU32::MIN).unwrap();
        let bucket = RedisBucket::new(&redis.open(), "share", rate(10, 4));
        let bucket = bucket.with_local_share(share).unwrap();
        let (sent, mut tasks) = (Sent::default(), JoinSet::new());
        crowd(&bucket, &sent, 2, &mut tasks);
        for _ in 0..100 {
            sleep(ms(50)).await;
            bucket.set_rate(rate(10, 4)).unwrap();
        }
        // 5 s at 5/s.
        assert!(sent.total() >= 23, "{}", sent.total());
    });
}

#[test]
fn a_local_share_needs_a_burst_for_all() {
    let redis = redis_outside();
    let share = LocalShare::new(0.5, NonZeroU32::new(8).unwrap()).unwrap();
    let bucket = || RedisBucket::new(&redis, "share", rate(100, 8));
    assert!(bucket().with_local_share(share).is_err());
    let bucket = RedisBucket::new(&redis, "share", rate(100, 9))
        .with_local_share(share)
        .unwrap();
    assert!(bucket.set_rate(rate(100, 8)).is_err());
    for reserve in [0.0, 1.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(LocalShare::new(reserve, NonZeroU32::MIN).is_err());
    }
}

#[test]
fn answers_that_take_longer_than_a_lease_count_as_an_outage() {
    paused(async {
        let redis = Fake::new(1);
        redis.state().delay = ms(400);
        let bucket = RedisBucket::new(&redis.open(), "far", rate(100, 1));
        let ask = one().with_latest(Instant::now() + ms(10_000), RejectReason::Deadline);
        let rejected = send(&bucket, &ask, &Sent::default(), Duration::ZERO).await;
        assert_eq!(rejected, Err(RejectReason::Unavailable));
        assert!(bucket.gauges().late() > 0);
        // Redis is not asked again and again.
        assert!(
            redis.state().calls.len() < 30,
            "{}",
            redis.state().calls.len()
        );
    });
}

#[test]
fn one_late_answer_is_no_outage() {
    for open in [true, false] {
        paused(async {
            let redis = redis();
            let rate = rate(100, 4);
            let mut bucket = RedisBucket::new(&redis.open(), "late", rate);
            if open {
                bucket = bucket.fail_open();
            }
            let sent = Sent::default();
            send(&bucket, &one(), &sent, Duration::ZERO).await.unwrap();
            sleep(ms(2_000)).await;
            redis.state().once = ms(200);
            let start = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..40 {
                let (bucket, sent) = (bucket.clone(), sent.clone());
                tasks.spawn(async move {
                    let _ = send(&bucket, &one(), &sent, Duration::ZERO).await;
                });
            }
            sleep(ms(400)).await;
            assert_eq!(bucket.gauges().late(), 1);
            assert!(sent.excess(rate) <= 0, "{} too many", sent.excess(rate));
            // There is no pause either: all but the first 200 ms are used.
            assert!(sent.since(start) >= 15, "{} sent", sent.since(start));
            assert!(bucket.gauges().is_connected());
        });
    }
}

fn redis_outside() -> crate::Redis {
    crate::Redis::open("redis://127.0.0.1:1").unwrap()
}
