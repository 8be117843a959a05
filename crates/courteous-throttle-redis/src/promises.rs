//! What is promised, one by one, on the paused clock.

use std::{num::NonZeroU32, pin::pin, time::Duration};

use courteous_core::{Ask, RejectReason, Store, Take, Turn};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    LocalShare, RedisBucket, RedisKeyed,
    fake::Fake,
    sent::{Sent, ms, one, paused, rate, send},
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

fn jain(counts: &[usize]) -> f64 {
    let sum: f64 = counts.iter().map(|&count| count as f64).sum();
    let squares: f64 = counts.iter().map(|&count| (count as f64).powi(2)).sum();
    sum * sum / (squares * counts.len() as f64)
}

#[test]
fn a_cold_start_costs_a_lease_and_a_horizon() {
    paused(async {
        let start = Instant::now();
        warm(&redis(), 2_000, 200).await;
        let cost = start.elapsed();
        assert!((ms(550)..ms(560)).contains(&cost), "{cost:?}");
    });
}

#[test]
fn with_a_lease_in_hand_nothing_is_asked_and_nothing_waits() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 2_000, 200).await;
        sleep(ms(1_000)).await;
        // A crowd reserves for all of it, and for as many again.
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let bucket = bucket.clone();
            tasks.spawn(
                async move { send(&bucket, &one(), &Sent::default(), Duration::ZERO).await },
            );
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap().unwrap();
        }
        let (calls, leased) = (bucket.gauges().calls(), bucket.gauges().leased());
        assert!(leased >= 10, "{leased}");
        for _ in 0..10 {
            assert!(matches!(bucket.take(&one()), Take::Taken));
        }
        assert_eq!(bucket.gauges().calls(), calls);
        assert_eq!(bucket.gauges().leased(), leased - 10);
    });
}

#[test]
fn all_workers_get_the_same_and_all_of_it() {
    for (tokens, burst) in [(2_000, 200), (20, 10), (100, 10)] {
        paused(async {
            let redis = redis();
            let (_tasks, workers) = crowds(&redis, 8, tokens, burst).await;
            let start = Instant::now();
            sleep(ms(10_000)).await;
            let counts: Vec<_> = workers.iter().map(|(_, sent)| sent.since(start)).collect();
            let (total, jain) = (counts.iter().sum::<usize>(), jain(&counts));
            assert!(jain >= 0.99, "{jain}: {counts:?}");
            assert!(
                total >= 10 * tokens as usize * 98 / 100,
                "{total} at {tokens}/s: {counts:?}"
            );
        });
    }
}

#[test]
fn one_call_serves_ten_requests_of_eight_busy_workers() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 8, 2_000, 200).await;
        let (start, calls) = (Instant::now(), redis.state().calls.len());
        sleep(ms(10_000)).await;
        let calls = redis.state().calls.len() - calls;
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(start)).sum();
        assert!(calls * 10 <= sent, "{calls} calls for {sent} requests");
    });
}

#[test]
fn nobody_starves_where_not_all_workers_fit_into_the_horizon() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 8, 1, 2).await;
        let (start, calls) = (Instant::now(), redis.state().calls.len());
        sleep(ms(80_000)).await;
        let counts: Vec<_> = workers.iter().map(|(_, sent)| sent.since(start)).collect();
        assert!(
            counts.iter().all(|count| (9..=11).contains(count)),
            "{counts:?}"
        );
        let calls = redis.state().calls.len() - calls;
        assert!(calls <= 2 * 80 + 8, "{calls}");
    });
}

#[test]
fn a_clock_that_is_set_back_stops_nobody() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 2, 100, 10).await;
        redis.state().offset -= 20_000_000;
        let start = Instant::now();
        sleep(ms(2_000)).await;
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(start)).sum();
        assert!(sent >= 190, "{sent}");
    });
}

#[test]
fn a_clock_that_is_set_forward_is_noticed_and_costs_one_cold_start() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 4, 100, 20).await;
        redis.state().offset += 20_000_000;
        let start = Instant::now();
        sleep(ms(3_000)).await;
        let steps: u64 = workers
            .iter()
            .map(|(bucket, _)| bucket.gauges().clock_steps())
            .sum();
        assert!((1..=4).contains(&steps), "{steps}");
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(start)).sum();
        // A horizon of 500 ms and a lease of 100 ms, and what was leased before.
        assert!((230..=300).contains(&sent), "{sent}");
    });
}

#[test]
fn without_redis_a_call_is_refused_at_its_deadline_and_not_before() {
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
                let refused = send(&bucket, &ask, &Sent::default(), Duration::ZERO).await;
                assert_eq!(refused, Err(RejectReason::Unavailable), "{hung}");
                assert_eq!(start.elapsed(), ms(300));
            }
        }
        assert!(bucket.last_fault().is_some());
        // It comes back by itself.
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
        let refused = send(&bucket, &one(), &Sent::default(), Duration::ZERO).await;
        assert_eq!(refused, Err(RejectReason::Unavailable));
        assert!((ms(2_000)..ms(2_010)).contains(&start.elapsed()));
        // The next one need not wait for that.
        let start = Instant::now();
        let refused = send(&bucket, &one(), &Sent::default(), Duration::ZERO).await;
        assert_eq!(
            (refused, start.elapsed()),
            (Err(RejectReason::Unavailable), ms(0))
        );
        // Nobody is refused for what was long ago.
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
        // The first call finds out.
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
        // 50/s from Redis, and twice 12.5/s.
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
        // It starts empty, with 1 in 2 s: the first two wait.
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

fn redis_outside() -> crate::Redis {
    crate::Redis::open("redis://127.0.0.1:1").unwrap()
}

#[test]
fn a_429_closes_the_bucket_for_all_workers() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 4, 100, 20).await;
        let opens = Instant::now() + ms(5_000);
        Store::close_until(&workers[0].0, opens);
        let start = Instant::now();
        sleep(ms(100)).await;
        assert_eq!(workers[0].1.since(start), 0, "closed here at once");
        // A lease of 100 ms, and a horizon of 500 ms.
        sleep(ms(500)).await;
        let closed = Instant::now();
        sleep(opens - closed).await;
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(closed)).sum();
        assert_eq!(sent, 0, "closed elsewhere");
        // It opens with one token, not with a burst.
        sleep(ms(1_000)).await;
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(opens)).sum();
        assert!((90..=101).contains(&sent), "{sent}");
    });
}

#[test]
fn a_429_is_told_though_redis_was_away_and_nobody_waits() {
    paused(async {
        let redis = redis();
        let (one_bucket, other) = (warm(&redis, 10, 1).await, warm(&redis, 10, 1).await);
        redis.state().away = true;
        Store::close_until(&one_bucket, Instant::now() + ms(60_000));
        sleep(ms(3_000)).await;
        redis.state().away = false;
        sleep(ms(3_000)).await;
        let start = Instant::now();
        let ask = one().with_latest(start + ms(2_000), RejectReason::Deadline);
        let refused = send(&other, &ask, &Sent::default(), Duration::ZERO).await;
        assert_eq!(refused, Err(RejectReason::Deadline));
        assert!(start.elapsed() < ms(200), "refused once that is certain");
        assert!(other.closed_until().is_some());
    });
}

#[test]
fn a_retry_outside_waits_there_for_a_closed_bucket() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 10, 1).await;
        let waiting = bucket.clone();
        let waiter = tokio::spawn(async move {
            send(
                &waiting,
                &one().with_retried(true),
                &Sent::default(),
                Duration::ZERO,
            )
            .await
        });
        tokio::task::yield_now().await;
        assert_eq!(bucket.waiting(), 1);
        Store::close_until(&bucket, Instant::now() + ms(1_000));
        assert_eq!(waiter.await.unwrap(), Err(RejectReason::Closed));
        let Take::Refused(rejected) = bucket.take(&one().with_retried(true)) else {
            panic!("it is closed");
        };
        assert!((ms(1_000)..=ms(2_000)).contains(&rejected.wait().unwrap()));
    });
}

#[test]
fn what_costs_more_than_a_lease_can_hold_is_refused_at_once() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 100, 20).await;
        let most = bucket.max_cost();
        assert_eq!(most, 8);
        let ask = |cost| Ask::new(NonZeroU32::new(cost).unwrap());
        let Take::Refused(rejected) = bucket.take(&ask(most + 1)) else {
            panic!("too dear");
        };
        assert_eq!(rejected.reason(), RejectReason::CostAboveBurst);
        assert_eq!(rejected.max_cost(), Some(most));
        // The dearest gets through, in its turn, in a crowd of cheap ones.
        let mut tasks = JoinSet::new();
        crowd(&bucket, &Sent::default(), 20, &mut tasks);
        sleep(ms(500)).await;
        let sent = Sent::default();
        timeout(ms(1_000), send(&bucket, &ask(most), &sent, Duration::ZERO))
            .await
            .unwrap()
            .unwrap();
    });
}

#[test]
fn the_slot_of_a_dropped_waiter_goes_to_the_next() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 10, 5).await;
        sleep(ms(2_000)).await;
        let mut waiters: Vec<_> = (0..4)
            .map(|_| match bucket.take(&one()) {
                Take::Wait(turn) => Box::pin(turn),
                _ => panic!("there is no lease"),
            })
            .collect();
        for waiter in &mut waiters {
            let polled = std::future::poll_fn(|cx| waiter.as_mut().poll(cx));
            timeout(ms(2_000), polled).await.unwrap().unwrap();
        }
        let calls = bucket.gauges().calls();
        waiters.clear();
        assert!(matches!(bucket.take(&one()), Take::Taken));
        assert_eq!(bucket.gauges().calls(), calls);
    });
}

#[test]
fn a_waiter_that_is_not_polled_loses_its_slot_and_holds_up_nobody() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 10, 1).await;
        let Take::Wait(turn) = bucket.take(&one()) else {
            panic!("there is no lease");
        };
        let mut turn = pin!(turn);
        std::future::poll_fn(|cx| turn.as_mut().poll(cx))
            .await
            .unwrap();
        let sent = Sent::default();
        for _ in 0..3 {
            let ask = one();
            let next = send(&bucket, &ask, &sent, Duration::ZERO);
            timeout(ms(500), next).await.unwrap().unwrap();
        }
        assert!(!turn.as_mut().spend());
        std::future::poll_fn(|cx| turn.as_mut().poll(cx))
            .await
            .unwrap();
        assert!(turn.as_mut().spend());
    });
}

#[test]
fn the_strictest_rate_is_in_force_until_nobody_states_it() {
    paused(async {
        let redis = redis();
        let fast = RedisBucket::new(&redis.open(), "disputed", rate(100, 10));
        let slow = RedisBucket::new(&redis.open(), "disputed", rate(10, 5));
        let mut tasks = JoinSet::new();
        let sent = Sent::default();
        crowd(&fast, &sent, 20, &mut tasks);
        sleep(ms(2_000)).await;
        assert_eq!(fast.gauges().rates(), 1);
        assert_eq!(fast.effective_rate().interval(), ms(10));
        send(&slow, &one(), &sent, Duration::ZERO).await.unwrap();
        let start = Instant::now();
        sleep(ms(3_000)).await;
        assert_eq!(fast.gauges().rates(), 2);
        assert_eq!(fast.effective_rate().interval(), ms(100));
        assert!(sent.since(start) <= 35, "{}", sent.since(start));
        sleep(ms(5_000)).await;
        assert_eq!(fast.gauges().rates(), 1);
        let start = Instant::now();
        sleep(ms(2_000)).await;
        assert!(sent.since(start) >= 190);
    });
}

#[test]
fn failing_fast_gets_through_all_the_same() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 10, 2).await;
        let (mut sent, start) = (0, Instant::now());
        while start.elapsed() < ms(5_000) {
            match bucket.take(&one().with_max_waiting(0)) {
                Take::Taken => sent += 1,
                Take::Refused(rejected) => assert_eq!(rejected.reason(), RejectReason::AtCapacity),
                Take::Wait(_) => panic!("it must not wait"),
            }
            sleep(ms(10)).await;
        }
        assert!(sent >= 40, "{sent}");
    });
}

#[test]
fn answers_that_take_longer_than_a_lease_count_as_an_outage() {
    paused(async {
        let redis = Fake::new(1);
        redis.state().delay = ms(400);
        let bucket = RedisBucket::new(&redis.open(), "far", rate(100, 1));
        let ask = one().with_latest(Instant::now() + ms(10_000), RejectReason::Deadline);
        let refused = send(&bucket, &ask, &Sent::default(), Duration::ZERO).await;
        assert_eq!(refused, Err(RejectReason::Unavailable));
        assert!(bucket.gauges().late() > 0);
        // Nor is Redis asked again and again.
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
            // No pause either: all but the first 200 ms are used.
            assert!(sent.since(start) >= 15, "{} sent", sent.since(start));
            assert!(bucket.gauges().is_connected());
        });
    }
}

#[test]
fn a_wait_that_is_certain_to_end_too_late_is_refused_at_once() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 10, 5).await;
        let mut tasks = JoinSet::new();
        crowd(&bucket, &Sent::default(), 20, &mut tasks);
        sleep(ms(2_000)).await;
        let start = Instant::now();
        let ask = one().with_latest(start + ms(1_500), RejectReason::MaxWait);
        let refused = send(&bucket, &ask, &Sent::default(), Duration::ZERO).await;
        assert_eq!(
            (refused, start.elapsed()),
            (Err(RejectReason::MaxWait), ms(0))
        );
    });
}

#[test]
fn a_quota_that_runs_out_slows_all_workers_down() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 4, 100, 10).await;
        Store::pace(&workers[0].0, 50, ms(5_000));
        sleep(ms(1_000)).await;
        let start = Instant::now();
        sleep(ms(3_000)).await;
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(start)).sum();
        assert!((25..=35).contains(&sent), "{sent}");
        sleep(ms(2_000)).await;
        let start = Instant::now();
        sleep(ms(1_000)).await;
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(start)).sum();
        assert!(sent >= 90, "{sent}");
    });
}

#[test]
fn a_pace_whose_call_is_lost_is_told_with_the_next_one() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 100, 10).await;
        sleep(ms(1_000)).await;
        let told = || redis.state().calls.iter().any(|call| !call.pace.is_zero());
        redis.state().hung = true;
        Store::pace(&bucket, 1, ms(60_000));
        let ask = one().with_latest(Instant::now() + ms(1_000), RejectReason::Deadline);
        let refused = send(&bucket, &ask, &Sent::default(), Duration::ZERO).await;
        assert_eq!(refused, Err(RejectReason::Unavailable));
        assert!(!told());
        redis.state().hung = false;
        sleep(ms(2_000)).await;
        send(&bucket, &one(), &Sent::default(), Duration::ZERO)
            .await
            .unwrap();
        assert!(told());
    });
}

#[test]
fn a_key_whose_pace_redis_was_not_told_is_kept() {
    paused(async {
        let redis = redis();
        let template = RedisBucket::new(&redis.open(), "keyed", rate(100, 10));
        let key_of = |head: courteous_core::RequestView<'_>| head.uri().path().to_owned();
        let keyed = RedisKeyed::new(template, key_of);
        let select = |path: String| {
            let request = http::Request::builder().uri(path).body(()).unwrap();
            let head = courteous_core::RequestView::of(&request);
            courteous_core::Partition::select(&keyed, head).unwrap()
        };
        Store::pace(&select("/paced".into()), 1, ms(60_000));
        for key in 0..64 {
            select(format!("/{key}"));
        }
        assert!(keyed.len() < 64, "{} keys: none was forgotten", keyed.len());
        assert!(keyed.get(&"/paced".into()).is_some());
        sleep(ms(60_000)).await;
        for key in 64..192 {
            select(format!("/{key}"));
        }
        assert!(keyed.get(&"/paced".into()).is_none(), "for its time only");
    });
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
fn a_runtime_that_nobody_drives_holds_up_no_other() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
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
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
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
            courteous_core::Partition::select(&keyed, courteous_core::RequestView::of(&request))
        };
        for key in 0..3_000 {
            let bucket = select(format!("/{key}")).unwrap();
            if key % 500 == 0 {
                send(&bucket, &one(), &Sent::default(), Duration::ZERO)
                    .await
                    .unwrap();
            }
            sleep(ms(1)).await;
        }
        assert!(keyed.len() <= 1_000, "{}", keyed.len());
        let held: Vec<_> = (0..1_000)
            .map(|key| select(format!("/held/{key}")))
            .collect();
        assert!(held.iter().flatten().count() >= 900);
        let last = select("/one/more".into());
        assert_eq!(
            last.map_err(|rejected| rejected.reason()).err(),
            Some(RejectReason::TooManyKeys)
        );
        drop(held);
        sleep(ms(10)).await;
        assert!(select("/one/more".into()).is_ok());
    });
}
