//! Tests of pauses and quotas that a server states.

use courteous_limit::{QuotaName, Target, ToldQuota};

use super::*;

#[test]
fn a_429_closes_the_bucket_for_all_workers() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 4, 100, 20).await;
        let opens = Instant::now() + ms(5_000);
        TokenStore::close_until(&workers[0].0, opens);
        let start = Instant::now();
        sleep(ms(100)).await;
        assert_eq!(workers[0].1.since(start), 0, "closed here at once");
        // The lease is 100 ms, and the horizon is 500 ms.
        sleep(ms(500)).await;
        let closed = Instant::now();
        sleep(opens - closed).await;
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(closed)).sum();
        assert_eq!(sent, 0, "closed elsewhere");
        // The bucket opens with one token, not with a burst.
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
        TokenStore::close_until(&one_bucket, Instant::now() + ms(60_000));
        sleep(ms(3_000)).await;
        redis.state().away = false;
        sleep(ms(3_000)).await;
        let start = Instant::now();
        let ask = one().with_latest(start + ms(2_000), RejectReason::Deadline);
        let rejected = send(&other, &ask, &Sent::default(), Duration::ZERO).await;
        assert_eq!(rejected, Err(RejectReason::Deadline));
        assert!(start.elapsed() < ms(200), "rejected once that is certain");
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
        TokenStore::close_until(&bucket, Instant::now() + ms(1_000));
        assert_eq!(waiter.await.unwrap(), Err(RejectReason::Paused));
        let Take::Rejected(rejected) = bucket.take(&one().with_retried(true)) else {
            panic!("it is closed");
        };
        assert!((ms(1_000)..=ms(2_000)).contains(&rejected.wait().unwrap()));
    });
}

#[test]
fn a_quota_that_runs_out_slows_all_workers_down() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 4, 100, 10).await;
        TokenStore::pace(&workers[0].0, 50, ms(5_000));
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
        TokenStore::pace(&bucket, 1, ms(60_000));
        let ask = one().with_latest(Instant::now() + ms(1_000), RejectReason::Deadline);
        let rejected = send(&bucket, &ask, &Sent::default(), Duration::ZERO).await;
        assert_eq!(rejected, Err(RejectReason::Unavailable));
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
            courteous_limit::Partition::select(&keyed, head)
        };
        TokenStore::pace(&select("/paced".into()), 1, ms(60_000));
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

fn target(path: &str) -> Target {
    let request = http::Request::get(format!("http://api.test{path}"));
    Target::of(courteous_core::RequestView::of(&request.body(()).unwrap()))
}

fn to(path: &str) -> Ask {
    one().with_target(target(path))
}

async fn sent_after(bucket: &RedisBucket, ask: &Ask) -> Duration {
    let start = Instant::now();
    send(bucket, ask, &Sent::default(), Duration::ZERO)
        .await
        .unwrap();
    start.elapsed()
}

#[test]
fn a_used_up_quota_holds_up_only_calls_that_are_known_to_count_against_it() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 1_000, 100).await.with_jitter(Duration::ZERO);
        sleep(ms(2_000)).await;
        let name = |name| QuotaName::new(target("/"), &[Some(name)]);
        TokenStore::hear(&bucket, target("/core"), &[ToldQuota::named(name("core"))]);
        let used_up = ToldQuota::used_up(name("search"), Instant::now() + ms(9_000));
        TokenStore::hear(&bucket, target("/search"), &[used_up]);
        for path in ["/core", "/unknown"] {
            assert!(sent_after(&bucket, &to(path)).await < ms(500), "{path}");
        }
        let Take::Rejected(rejected) = bucket.take(&to("/search").with_retried(true)) else {
            panic!("it is used up");
        };
        assert_eq!(rejected.reason(), RejectReason::Paused);
        let waiting = bucket.take(&to("/search"));
        assert_eq!(bucket.waiting(), 1);
        drop(waiting);
        assert_eq!(bucket.waiting(), 0);
        let start = Instant::now();
        sent_after(&bucket, &to("/search")).await;
        assert!(start.elapsed() >= ms(7_900), "{:?}", start.elapsed());
        assert!(sent_after(&bucket, &to("/search")).await < ms(500));
    });
}

#[test]
fn a_queued_call_is_not_sent_once_its_quota_is_used_up() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 1, 1).await.with_jitter(Duration::ZERO);
        sent_after(&bucket, &one()).await;
        let queued = bucket.clone();
        let start = Instant::now();
        let queued = tokio::spawn(async move { sent_after(&queued, &to("/search")).await });
        tokio::task::yield_now().await;
        assert_eq!(bucket.waiting(), 1);
        let name = QuotaName::new(target("/"), &[Some("search")]);
        let used_up = ToldQuota::used_up(name, start + ms(20_000));
        TokenStore::hear(&bucket, target("/search"), &[used_up]);
        assert!(sent_after(&bucket, &to("/other")).await < ms(5_000));
        assert!(queued.await.unwrap() >= ms(20_000));
    });
}

#[test]
fn a_named_quota_that_is_left_is_spread_over_its_time() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 1_000, 100).await;
        sleep(ms(2_000)).await;
        let name = QuotaName::new(target("/"), &[Some("search")]);
        let left = ToldQuota::left(name, 10, ms(20_000));
        TokenStore::hear(&bucket, target("/search"), &[left]);
        let start = Instant::now();
        for _ in 0..5 {
            sent_after(&bucket, &to("/search")).await;
            assert!(sent_after(&bucket, &to("/core")).await < ms(500));
        }
        assert!(start.elapsed() >= ms(8_000) && start.elapsed() <= ms(9_000));
    });
}

#[test]
fn a_pause_of_two_hours_closes_the_bucket_for_all_workers() {
    paused(async {
        let redis = redis();
        let (bucket, other) = (warm(&redis, 10, 1).await, warm(&redis, 10, 1).await);
        let two_hours = ms(2 * 60 * 60 * 1_000);
        let start = Instant::now();
        TokenStore::close_until(&bucket, start + two_hours);
        sleep(ms(1_000)).await;
        let mut tries = 0;
        while start.elapsed() < two_hours - ms(60_000) {
            for bucket in [&bucket, &other] {
                let latest = Instant::now() + ms(30_000);
                let ask = one().with_latest(latest, RejectReason::Deadline);
                let rejected = send(bucket, &ask, &Sent::default(), Duration::ZERO).await;
                assert_eq!(rejected, Err(RejectReason::Deadline));
            }
            tries += 1;
            sleep(ms(600_000)).await;
        }
        assert_eq!(tries, 12);
        for bucket in [&bucket, &other] {
            sent_after(bucket, &one()).await;
            assert!(start.elapsed() >= two_hours);
        }
    });
}
