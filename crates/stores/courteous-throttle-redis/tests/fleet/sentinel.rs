//! A primary that Sentinel watches is lost, comes back as a replica, and is promoted again. In
//! other tests, the Sentinels themselves are away.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use courteous_core::RejectReason;
use courteous_test_servers::{BOUND, Fleet, Load, Redis, RedisSentinel, await_that};
use courteous_throttle_redis::RedisBucket;

use crate::{
    away::no_call_outlives_its_deadline,
    support::{fault, quota, send_one},
};

const WORKERS: usize = 4;
const NAME: &str = "Main_primary-1.0";

/// Starts a primary, its replica, and a Sentinel that watches them.
fn watched() -> Option<(Redis, Redis, RedisSentinel)> {
    watched_with(&[])
}

fn watched_with(options: &[&str]) -> Option<(Redis, Redis, RedisSentinel)> {
    let start = || Redis::start_with(options);
    let (primary, replica) = (start()?, start()?);
    replica.replicate(&primary);
    let sentinel = RedisSentinel::start(NAME, &primary)?;
    Some((primary, replica, sentinel))
}

/// Makes a worker's handle of the bucket that all tests use, with its own connection.
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

/// Waits until Sentinel has made the server a replica.
fn is_demoted(redis: &Redis) -> bool {
    await_that(|| {
        redis
            .info("master_link_status")
            .is_ok_and(|link| link == "up")
    })
}

#[test]
fn a_primary_that_is_killed_and_comes_back_as_a_replica_and_is_promoted_again() {
    let Some((mut first, mut second, mut sentinel)) = watched() else {
        return;
    };
    let fleet = fleet(&sentinel);
    fleet.each_sends(20);
    first.kill();
    fleet.rejects(50, RejectReason::Unavailable);
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
    fleet.rejects(50, RejectReason::Unavailable);
    sentinel.await_promotion(&second);
    fleet.each_sends(20);
    // For a while, the old primary does not know that it is a primary no longer.
    first.resume();
    fleet.each_sends(20);
    assert!(is_demoted(&first));
    fleet.each_sends(20);
    fleet.stop().assert_within(quota());
}

#[test]
fn a_primary_that_hands_over_to_its_replica() {
    // A primary goes on for a while after its replica was promoted. With these options, it does not
    // go on without a replica.
    let options = ["--min-replicas-to-write", "1"];
    let Some((first, second, mut sentinel)) = watched_with(&options) else {
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
    let bucket = bucket(&sentinel).with_patience(BOUND);
    send_one(&bucket).await;
    let before = bucket.gauges().cold_starts();
    first.kill();
    sentinel.await_promotion(&second);
    // The slots that were leased before are used up.
    tokio::time::sleep(Duration::from_secs(1)).await;
    send_one(&bucket).await;
    assert!(bucket.gauges().cold_starts() > before);
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
    fleet.rejects(50, RejectReason::Unavailable);
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
    // This Sentinel knows only another primary.
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

/// Starts a server that answers like a Sentinel with outdated knowledge. Returns its URL.
fn outdated_sentinel(primary: SocketAddr) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (host, port) = (primary.ip().to_string(), primary.port().to_string());
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let named = format!("*2\r\n{}{}", bulk(&host), bulk(&port));
    // The thread ends with the process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            while let Ok(1..) = stream.peek(&mut [0]) {
                let length = stream.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..length]);
                for _ in request.matches("SETINFO") {
                    stream.write_all(b"+OK\r\n").unwrap();
                }
                for _ in request.matches("GET-MASTER-ADDR-BY-NAME") {
                    stream.write_all(named.as_bytes()).unwrap();
                }
            }
        }
    });
    url
}

#[tokio::test]
async fn a_sentinel_that_names_a_replica_is_not_believed() {
    let Some((_first, second, sentinel)) = watched() else {
        return;
    };
    let outdated = outdated_sentinel(second.address());
    let asked = |urls: &[&str]| {
        let link = courteous_throttle_redis::Redis::sentinel(urls, NAME);
        RedisBucket::new(&link.unwrap(), "fleet", quota()).with_patience(Duration::ZERO)
    };
    fault(&asked(&[&outdated]), "no primary").await;
    for _ in 0..5 {
        send_one(&asked(&[&outdated, &sentinel.url()])).await;
    }
}

#[tokio::test]
async fn a_sentinel_is_spoken_to_as_its_url_says() {
    let Some((_first, _second, sentinel)) = watched() else {
        return;
    };
    let user = ["ACL", "SETUSER", "worker", "on", ">geheim", "&*", "+@all"];
    sentinel.command(&user).unwrap();
    let with = |password: &str| {
        let url = format!("redis://worker:{password}@{}", sentinel.address());
        let link = courteous_throttle_redis::Redis::sentinel([url], NAME);
        RedisBucket::new(&link.unwrap(), "fleet", quota()).with_patience(Duration::ZERO)
    };
    send_one(&with("geheim")).await;
    let fault = fault(&with("nicht-geheim"), "authentication").await;
    assert!(!fault.contains("geheim"), "{fault}");
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
        RedisBucket::new(&link.unwrap(), "fleet", quota()).with_patience(Duration::ZERO)
    };
    let bucket = with("geheim");
    send_one(&bucket).await;
    let clients = primary.command(&["CLIENT", "LIST"]).unwrap();
    let ours = |client: &str| client.contains(" user=worker ") && client.contains(" db=3 ");
    assert!(clients.lines().any(ours), "{clients}");
    let fault = fault(&with("nicht-geheim"), "authentication").await;
    assert!(!fault.contains("geheim"), "{fault}");
}
