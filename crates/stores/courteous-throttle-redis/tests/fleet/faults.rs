//! One test for each fault of Redis, or on the way to it.

use std::{num::NonZeroU32, time::Duration};

use courteous_core::Rate;
use courteous_limit::Ask;
use courteous_test_servers::{
    BOUND, Course, Fleet, Flow, Load, Redis, Wire, await_that, send, stand_still,
};
use courteous_throttle_redis::RedisBucket;

use crate::support::{bucket, link, quota, rate};

const WORKERS: usize = 4;
/// After this time, a worker has surely noticed that Redis is gone, and leases have ended.
const LONG: Duration = Duration::from_millis(700);

fn fleet(url: &str, quota: Rate) -> Fleet {
    Fleet::start(WORKERS, Load::default(), |_| bucket(url, quota))
}

/// Checks that all workers go on, and that they never sent too much.
fn end(fleet: Fleet, quota: Rate) {
    fleet.each_sends(20);
    fleet.stop().assert_within(quota);
}

/// A rate with leases of 250 ms. When a server is lost, more slots are out than are lost while it
/// comes back.
fn long_leases() -> Rate {
    rate(400, 200)
}

#[test]
fn a_redis_that_is_killed_and_comes_back_without_its_data() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let fleet = fleet(&redis.url(), quota());
    fleet.each_sends(20);
    redis.restart();
    fleet.each_sends(20);
    redis.kill();
    stand_still(LONG);
    redis.restart();
    end(fleet, quota());
}

#[test]
fn a_redis_that_is_killed_and_comes_back_with_its_data() {
    let Some(mut redis) = Redis::persistent() else {
        return;
    };
    let fleet = fleet(&redis.url(), quota());
    fleet.each_sends(20);
    redis.restart();
    end(fleet, quota());
}

#[test]
fn a_redis_that_is_killed_and_comes_back_with_old_data() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let fleet = fleet(&redis.url(), long_leases());
    fleet.each_sends(20);
    redis.command(&["SAVE"]).unwrap();
    for _ in 0..2 {
        fleet.each_sends(20);
        redis.restart();
        assert_ne!(redis.command(&["DBSIZE"]).unwrap(), "0");
    }
    end(fleet, long_leases());
}

#[test]
fn a_redis_that_is_flushed_again_and_again() {
    let Some(redis) = Redis::start() else { return };
    let fleet = fleet(&redis.url(), quota());
    fleet.each_sends(20);
    for _ in 0..3 {
        redis.command(&["FLUSHALL"]).unwrap();
        fleet.each_sends(10);
    }
    end(fleet, quota());
}

#[test]
fn a_redis_that_forgets_its_scripts() {
    let Some(redis) = Redis::start() else { return };
    let fleet = fleet(&redis.url(), quota());
    for _ in 0..5 {
        fleet.each_sends(20);
        redis.command(&["SCRIPT", "FLUSH"]).unwrap();
    }
    end(fleet, quota());
}

#[test]
fn a_redis_that_hangs() {
    let Some(redis) = Redis::start() else { return };
    let fleet = fleet(&redis.url(), quota());
    fleet.each_sends(20);
    for time in [30, 60, 150, 700] {
        redis.pause();
        stand_still(Duration::from_millis(time));
        redis.resume();
        fleet.each_sends(10);
    }
    end(fleet, quota());
}

#[test]
fn workers_that_stand_still() {
    let Some(redis) = Redis::start() else { return };
    let fleet = fleet(&redis.url(), quota());
    fleet.each_sends(20);
    // First some workers stall, then all. Their leased slots, and the tokens that have come back
    // meanwhile, are more than a burst.
    for (stalled, time) in [(2, 600), (4, 100), (4, 600)] {
        (0..stalled).for_each(|worker| fleet.stall(worker, Duration::from_millis(time)));
        fleet.each_sends(10);
    }
    end(fleet, quota());
}

#[test]
fn a_primary_that_becomes_a_replica() {
    let (Some(old), Some(new)) = (Redis::start(), Redis::start()) else {
        return;
    };
    let wire = Wire::to(old.address());
    let fleet = fleet(&wire.redis_url(), quota());
    fleet.each_sends(20);
    // The old primary's connections stay open, and refuse writes for ever.
    new.replicate(&old);
    new.promote();
    old.replicate(&new);
    wire.proxy().divert(new.address());
    end(fleet, quota());
}

#[test]
fn a_replica_that_lost_the_last_writes_and_is_promoted() {
    let (Some(mut old), Some(mut new), Some(last)) =
        (Redis::start(), Redis::start(), Redis::start())
    else {
        return;
    };
    let wire = Wire::to(old.address());
    let fleet = fleet(&wire.redis_url(), long_leases());
    new.replicate(&old);
    fleet.each_sends(20);
    new.promote();
    fleet.each_sends(40);
    wire.proxy().divert(new.address());
    old.kill();
    // This is done once more, as one burst can hide the calls that one promotion lets through.
    last.replicate(&new);
    fleet.each_sends(20);
    last.promote();
    fleet.each_sends(40);
    wire.proxy().divert(last.address());
    new.kill();
    end(fleet, long_leases());
}

#[test]
fn connections_that_go_silent() {
    let Some(redis) = Redis::start() else { return };
    // On each worker's first connections, calls or answers are swallowed after some calls.
    let silent = Flow::smooth().black_hole_after(3000);
    let wire = Wire::with(redis.address(), move |connection| match connection {
        0..WORKERS => Course::smooth().with_down(silent),
        connection if connection < 2 * WORKERS => Course::smooth().with_up(silent),
        _ => Course::smooth(),
    });
    let fleet = fleet(&wire.redis_url(), quota());
    fleet.each_sends(200);
    assert!(
        wire.proxy().connections() >= 2 * WORKERS,
        "{:?}",
        wire.proxy()
    );
    end(fleet, quota());
}

#[test]
fn a_network_that_swallows_all_for_a_while() {
    let Some(redis) = Redis::start() else { return };
    let silent = Flow::smooth().black_hole_after(3000);
    let wire = Wire::with(redis.address(), move |connection| match connection {
        0..WORKERS => Course::smooth().with_up(silent),
        _ => Course::smooth(),
    });
    let fleet = fleet(&wire.redis_url(), quota());
    fleet.each_sends(20);
    wire.set_hole(true);
    stand_still(2 * LONG);
    wire.set_hole(false);
    end(fleet, quota());
}

#[test]
fn a_line_on_which_connections_break_by_chance() {
    let Some(redis) = Redis::start() else { return };
    let wire = Wire::with(redis.address(), Course::seeded(4, 4000));
    let fleet = fleet(&wire.redis_url(), quota());
    fleet.each_sends(100);
    end(fleet, quota());
}

#[test]
fn a_line_that_is_as_slow_as_a_lease_is_long() {
    let Some(redis) = Redis::start() else { return };
    let late = Flow::smooth().with_latency(Duration::from_millis(12));
    let course = Course::smooth().with_up(late).with_down(late);
    let wire = Wire::with(redis.address(), move |_| course);
    let fleet = fleet(&wire.redis_url(), quota());
    fleet.each_sends(60);
    end(fleet, quota());
}

#[cfg(feature = "cluster")]
#[test]
fn a_cluster_of_three_nodes_each_with_some_of_the_keys() {
    use courteous_test_servers::RedisCluster;
    use courteous_throttle_redis::Redis;

    let Some(mut cluster) = RedisCluster::start() else {
        return;
    };
    let fleets: Vec<_> = ["a", "b", "c", "d"]
        .map(|key| {
            let link = || Redis::cluster(cluster.urls()).unwrap();
            let store = |_| RedisBucket::new(&link(), key, quota());
            Fleet::start(2, Load::default(), store)
        })
        .into();
    for fleet in &fleets {
        fleet.each_sends(20);
    }
    let nodes = cluster.nodes().iter();
    let keys = nodes.map(|node| node.command(&["DBSIZE"]).unwrap());
    assert!(keys.filter(|keys| keys != "0").count() >= 2);
    for node in cluster.nodes_mut() {
        node.restart();
    }
    fleets.into_iter().for_each(|fleet| end(fleet, quota()));
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_no_outage() {
    let Some(redis) = Redis::start() else { return };
    // A lease is a second. Answers may take long, as the machine may be busy.
    let link = link(&redis.url()).with_timeouts(BOUND, BOUND);
    let bucket = RedisBucket::new(&link, "fleet", rate(100, 200));
    let ask = Ask::new(NonZeroU32::MIN);
    send(&bucket, &ask).await.unwrap();
    for round in 0..3 {
        assert!(await_that(|| bucket.gauges().leased() == 0));
        // This kills all connections except its own.
        redis
            .command(&["CLIENT", "KILL", "TYPE", "normal"])
            .unwrap();
        stand_still(Duration::from_millis(100));
        send(&bucket, &ask).await.unwrap();
        assert_eq!(bucket.gauges().failures(), 0, "in round {round}");
    }
}
