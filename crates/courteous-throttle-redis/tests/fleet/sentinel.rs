//! A primary that Sentinel watches, which is lost, comes back as a replica, and is promoted again; and Sentinels that are
//! away themselves.

use std::{num::NonZeroU32, time::Duration};

use courteous_core::{Ask, RejectReason};
use courteous_testkit::{Redis, RedisSentinel};
use courteous_throttle_redis::RedisBucket;
use tokio::time::timeout;

use crate::{
    away::no_call_outlives_its_deadline,
    support::{Fleet, Load, await_that, quota, rate, send},
};

const WORKERS: usize = 4;
const NAME: &str = "Main_primary-1.0";

/// A primary, its replica, and who watches them.
fn watched() -> Option<(Redis, Redis, RedisSentinel)> {
    let (primary, replica) = (Redis::start()?, Redis::start()?);
    replica.replicate(&primary);
    let sentinel = RedisSentinel::start(NAME, &primary)?;
    Some((primary, replica, sentinel))
}

/// A worker's handle of the bucket that all tests use, with a connection of its own.
fn bucket(sentinel: &RedisSentinel) -> RedisBucket {
    let link = courteous_throttle_redis::Redis::sentinel([sentinel.url()], NAME);
    RedisBucket::new(&link.unwrap(), "fleet", quota())
}

fn fleet(sentinel: &RedisSentinel) -> Fleet {
    let load = Load {
        callers: 5,
        patience: Some(Duration::from_millis(200)),
        ..Load::default()
    };
    Fleet::start(WORKERS, load, |_| bucket(sentinel))
}

/// Waits until Sentinel has made it a replica.
fn is_demoted(redis: &Redis) -> bool {
    await_that(|| {
        redis
            .info("master_link_status")
            .is_ok_and(|link| link == "up")
    })
}

/// Sends one call, which waits as long as it takes.
async fn send_one(bucket: &RedisBucket) {
    let ask = Ask::new(NonZeroU32::MIN);
    let sent = timeout(Duration::from_secs(20), send(bucket, &ask));
    sent.await.expect("an end").expect("a slot");
}

#[test]
fn a_primary_that_is_killed_and_comes_back_as_a_replica_and_is_promoted_again() {
    let Some((mut first, mut second, mut sentinel)) = watched() else {
        return;
    };
    let fleet = fleet(&sentinel);
    fleet.each_sends(20);
    first.kill();
    fleet.refuses(50, RejectReason::Unavailable);
    sentinel.await_promotion(&second);
    fleet.each_sends(20);
    first.restart();
    assert!(is_demoted(&first));
    fleet.each_sends(20);
    second.kill();
    sentinel.await_promotion(&first);
    fleet.each_sends(20);
    fleet.stop().assert_within(quota());
}

#[test]
fn a_primary_that_hangs_while_its_replica_is_promoted() {
    let Some((first, second, mut sentinel)) = watched() else {
        return;
    };
    let fleet = fleet(&sentinel);
    fleet.each_sends(20);
    first.pause();
    fleet.refuses(50, RejectReason::Unavailable);
    sentinel.await_promotion(&second);
    fleet.each_sends(20);
    // For a while it does not know that it is none any more.
    first.resume();
    fleet.each_sends(20);
    assert!(is_demoted(&first));
    fleet.each_sends(20);
    fleet.stop().assert_within(quota());
}

#[test]
fn a_primary_that_hands_over_to_its_replica() {
    let Some((first, second, mut sentinel)) = watched() else {
        return;
    };
    let fleet = fleet(&sentinel);
    fleet.each_sends(20);
    sentinel.command(&["SENTINEL", "FAILOVER", NAME]).unwrap();
    sentinel.await_promotion(&second);
    assert!(is_demoted(&first));
    fleet.each_sends(20);
    fleet.stop().assert_within(quota());
}

#[tokio::test]
async fn a_promotion_is_a_cold_start() {
    let Some((mut first, second, mut sentinel)) = watched() else {
        return;
    };
    let bucket = bucket(&sentinel).with_patience(Duration::from_secs(20));
    send_one(&bucket).await;
    assert_eq!(bucket.gauges().cold_starts(), 1);
    first.kill();
    sentinel.await_promotion(&second);
    // What was leased before is used up.
    tokio::time::sleep(Duration::from_secs(1)).await;
    send_one(&bucket).await;
    assert_eq!(bucket.gauges().cold_starts(), 2);
}

#[tokio::test]
async fn no_call_outlives_its_deadline_where_there_is_no_primary() {
    let Some((mut first, mut second, sentinel)) = watched() else {
        return;
    };
    first.kill();
    second.kill();
    no_call_outlives_its_deadline(&bucket(&sentinel)).await;
}

#[tokio::test]
async fn no_call_outlives_its_deadline_where_no_sentinel_answers() {
    let Some((_first, _second, sentinel)) = watched() else {
        return;
    };
    sentinel.pause();
    no_call_outlives_its_deadline(&bucket(&sentinel)).await;
}

#[test]
fn sentinels_that_are_away_hold_up_only_those_who_have_to_connect() {
    let Some((first, _second, mut sentinel)) = watched() else {
        return;
    };
    let fleet = fleet(&sentinel);
    fleet.each_sends(20);
    sentinel.kill();
    fleet.each_sends(50);
    first
        .command(&["CLIENT", "KILL", "TYPE", "normal"])
        .unwrap();
    fleet.refuses(50, RejectReason::Unavailable);
    sentinel.restart();
    fleet.each_sends(20);
    fleet.stop().assert_within(quota());
}

#[tokio::test]
async fn one_sentinel_that_answers_is_enough() {
    let Some((first, _second, good)) = watched() else {
        return;
    };
    let names = || RedisSentinel::start(NAME, &first);
    let (Some(hung), Some(mut dead)) = (names(), names()) else {
        return;
    };
    let (Some(another), Some(stranger)) = (Redis::start(), Redis::start()) else {
        return;
    };
    // It knows another primary only.
    let Some(ignorant) = RedisSentinel::start("another", &another) else {
        return;
    };
    hung.pause();
    dead.kill();
    let urls = [
        hung.url(),
        dead.url(),
        stranger.url(),
        ignorant.url(),
        good.url(),
    ];
    let link = courteous_throttle_redis::Redis::sentinel(urls, NAME).unwrap();
    let bucket = RedisBucket::new(&link, "fleet", quota());
    send_one(&bucket.with_patience(Duration::ZERO)).await;
}

#[tokio::test]
async fn a_primary_is_spoken_to_as_its_url_says() {
    let user = ["--user", "worker", "on", ">geheim", "~*", "&*", "+@all"];
    let Some(primary) = Redis::start_with(&user) else {
        return;
    };
    let Some(sentinel) = RedisSentinel::start(NAME, &primary) else {
        return;
    };
    let with = |password: &str| {
        let master = format!("redis://worker:{password}@{NAME}/3");
        let link = courteous_throttle_redis::Redis::sentinel([sentinel.url()], &master);
        RedisBucket::new(&link.unwrap(), "fleet", rate(500, 50)).with_patience(Duration::ZERO)
    };
    let bucket = with("geheim");
    send_one(&bucket).await;
    let clients = primary.command(&["CLIENT", "LIST"]).unwrap();
    let ours = |client: &str| client.contains(" user=worker ") && client.contains(" db=3 ");
    assert!(clients.lines().any(ours), "{clients}");
    let bucket = with("nicht-geheim");
    send(&bucket, &Ask::new(NonZeroU32::MIN)).await.unwrap_err();
    let fault = bucket.last_fault().unwrap();
    assert!(fault.contains("authentication"), "{fault}");
    assert!(!fault.contains("geheim"), "{fault}");
}
