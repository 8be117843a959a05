//! A Redis with TLS: which servers and clients are trusted, and which are not.

use std::time::Duration;

use courteous_test_servers::{BOUND, Fleet, Load, Redis, RedisCluster, RedisSentinel};
use courteous_throttle_redis::{RedisBucket, Tls};

use crate::{
    away::no_call_outlives_its_deadline,
    certificates::Authority,
    support::{fault, quota, send_one},
};

const LOCAL: &[&str] = &["127.0.0.1", "localhost"];

fn link(redis: &Redis, host: &str) -> courteous_throttle_redis::Redis {
    let port = redis.tls_address().unwrap().port();
    courteous_throttle_redis::Redis::open(&format!("rediss://{host}:{port}")).unwrap()
}

fn bucket(link: &courteous_throttle_redis::Redis) -> RedisBucket {
    RedisBucket::new(link, "fleet", quota()).with_patience(Duration::ZERO)
}

#[test]
fn a_redis_by_tls_that_is_restarted() {
    let authority = Authority::new("ours");
    let folder = authority.server(LOCAL);
    let Some(mut redis) = Redis::secure(folder.path(), &[]) else {
        return;
    };
    let fleet = Fleet::start(4, Load::default(), |_| {
        let link = link(&redis, "127.0.0.1").with_tls(&authority.trusted());
        RedisBucket::new(&link.unwrap(), "fleet", quota())
    });
    fleet.each_sends(20);
    redis.restart();
    fleet.each_sends(20);
    fleet.stop().assert_within(quota());
}

#[tokio::test]
async fn a_server_whose_authority_is_not_trusted_is_rejected_and_the_fault_says_so() {
    let authority = Authority::new("ours");
    let folder = authority.server(LOCAL);
    let Some(redis) = Redis::secure(folder.path(), &[]) else {
        return;
    };
    let link = link(&redis, "localhost");
    let by_the_system = bucket(&link);
    let other = link
        .clone()
        .with_tls(&Authority::new("another").trusted())
        .unwrap();
    for bucket in [by_the_system, bucket(&other)] {
        fault(&bucket, "UnknownIssuer").await;
    }
    send_one(&bucket(&link.with_tls(&authority.trusted()).unwrap())).await;
}

#[tokio::test]
async fn a_server_by_another_name_is_rejected_and_the_fault_says_so() {
    let authority = Authority::new("ours");
    let folder = authority.server(&["localhost"]);
    let Some(redis) = Redis::secure(folder.path(), &[]) else {
        return;
    };
    let by = |host: &str| bucket(&link(&redis, host).with_tls(&authority.trusted()).unwrap());
    fault(&by("127.0.0.1"), "not valid for name").await;
    send_one(&by("localhost")).await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_ours_and_refuses_others() {
    let authority = Authority::new("ours");
    let folder = authority.server(LOCAL);
    let Some(redis) = Redis::secure(folder.path(), &["--tls-auth-clients", "yes"]) else {
        return;
    };
    let with = |tls: &Tls| bucket(&link(&redis, "localhost").with_tls(tls).unwrap());
    let known_as = |(chain, key): (String, String)| authority.trusted().with_identity(chain, key);
    send_one(&with(&known_as(authority.client()))).await;
    fault(&with(&authority.trusted()), "CertificateRequired").await;
    fault(
        &with(&known_as(Authority::new("another").client())),
        "UnknownCA",
    )
    .await;
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_given_up_in_time() {
    let authority = Authority::new("ours");
    let Some(redis) = Redis::start() else { return };
    let url = format!("rediss://{}", redis.address());
    let link = courteous_throttle_redis::Redis::open(&url).unwrap();
    let bucket = bucket(&link.with_tls(&authority.trusted()).unwrap());
    fault(&bucket, "not connected within 1s").await;
}

#[tokio::test]
async fn no_call_outlives_its_deadline_where_nobody_shakes_hands() {
    let authority = Authority::new("ours");
    let folder = authority.server(LOCAL);
    let Some(redis) = Redis::secure(folder.path(), &[]) else {
        return;
    };
    redis.pause();
    let link = link(&redis, "localhost").with_tls(&authority.trusted());
    let bucket = RedisBucket::new(&link.unwrap(), "fleet", quota());
    no_call_outlives_its_deadline(&bucket).await;
}

#[tokio::test]
async fn no_secret_is_in_a_fault_or_in_a_debug_output() {
    let authority = Authority::new("ours");
    let folder = authority.server(LOCAL);
    let Some(redis) = Redis::secure(folder.path(), &["--user", "worker", "on", ">other"]) else {
        return;
    };
    let (chain, key) = authority.client();
    let tls = authority.trusted().with_identity(chain, key.clone());
    let link = link(&redis, "worker:geheim@localhost")
        .with_tls(&tls)
        .unwrap();
    let bucket = bucket(&link);
    let fault = fault(&bucket, "authentication").await;
    let key = key.lines().nth(1).unwrap();
    for shown in [format!("{tls:?} {link:?} {bucket:?}"), fault] {
        assert!(!shown.contains("geheim") && !shown.contains(key), "{shown}");
    }
}

#[tokio::test]
async fn a_cluster_by_tls() {
    let authority = Authority::new("ours");
    let folder = authority.server(LOCAL);
    let Some(cluster) = RedisCluster::secure(folder.path()) else {
        return;
    };
    let link = courteous_throttle_redis::Redis::cluster(cluster.urls()).unwrap();
    fault(&bucket(&link), "UnknownIssuer").await;
    let link = link.with_tls(&authority.trusted()).unwrap();
    for key in ["a", "b", "c", "d"] {
        send_one(&RedisBucket::new(&link, key, quota())).await;
    }
    let keys = |node: &Redis| node.command(&["DBSIZE"]).unwrap();
    let nodes = cluster.nodes().iter();
    assert!(nodes.filter(|node| keys(node) != "0").count() >= 2);
}

#[tokio::test]
async fn a_primary_that_sentinels_watch_and_the_sentinels_themselves_by_tls() {
    let authority = Authority::new("ours");
    let folder = authority.server(LOCAL);
    let servers = || Redis::secure(folder.path(), &[]);
    let (Some(mut first), Some(second)) = (servers(), servers()) else {
        return;
    };
    second.replicate(&first);
    let Some(mut sentinel) = RedisSentinel::start("primary", &first) else {
        return;
    };
    let port = sentinel.tls_address().unwrap().port();
    let sentinels = [format!("rediss://localhost:{port}")];
    let link = courteous_throttle_redis::Redis::sentinel(sentinels, "rediss://primary").unwrap();
    fault(&bucket(&link), "UnknownIssuer").await;
    let link = link.with_tls(&authority.trusted()).unwrap();
    let bucket = bucket(&link).with_patience(BOUND);
    send_one(&bucket).await;
    first.kill();
    sentinel.await_promotion(&second);
    send_one(&bucket).await;
}
