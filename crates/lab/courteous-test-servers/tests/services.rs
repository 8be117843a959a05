//! A server that a test starts is there at once, does what it is told, and is gone with the test.
#![cfg(target_os = "linux")] // for /proc
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a check that fails panics"
)]

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use courteous_test_servers::{Postgres, Process, Redis, RedisCluster, RedisSentinel};

const BOUND: Duration = Duration::from_secs(30);

/// Whether the process exists and is not a zombie.
fn is_alive(id: u32) -> bool {
    let state = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat"));
    state.is_ok_and(|state| !state.contains(") Z "))
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// The process id, from `INFO`.
fn id(redis: &Redis) -> u32 {
    redis.info("process_id").unwrap().parse().unwrap()
}

#[test]
fn a_redis_is_gone_when_it_is_dropped() {
    let Some(redis) = Redis::start() else { return };
    let (id, address) = (id(&redis), redis.address());
    assert!(is_alive(id));
    drop(redis);
    assert!(!is_alive(id) && refuses(address));
}

#[test]
fn a_redis_is_gone_when_its_test_panics_even_if_it_hangs() {
    let Some(redis) = Redis::start() else { return };
    let (id, address) = (id(&redis), redis.address());
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        redis.pause();
        std::panic::resume_unwind(Box::new("a test that fails"));
    }));
    assert!(panicked.is_err());
    assert!(!is_alive(id) && refuses(address));
}

#[test]
fn a_process_is_gone_when_its_test_is_killed() {
    // Runs this test again as a process that starts another process and is then killed.
    if std::env::var_os("KILLED").is_some() {
        let process = Process::spawn(Command::new("sleep").arg("60")).unwrap();
        writeln!(io::stderr(), "{}", process.id()).unwrap();
        thread::park_timeout(BOUND);
        return;
    }
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "a_process_is_gone_when_its_test_is_killed"])
        .env("KILLED", "")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut test = Process::spawn(&mut test).unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(test.child().stderr.take().unwrap());
    output.read_line(&mut line).unwrap();
    let id = line.trim_end().parse().unwrap();
    assert!(is_alive(id));
    test.kill();
    let gone = (0..6000).any(|_| {
        thread::park_timeout(Duration::from_millis(5));
        !is_alive(id)
    });
    assert!(gone);
}

#[test]
fn a_test_without_its_server_is_skipped_loudly_and_fails_where_all_must_run() {
    let without = |ci: &str| {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "a_redis_is_gone_when_it_is_dropped"])
            .env("PATH", "")
            .env("CI", ci);
        test.output().unwrap()
    };
    let skipped = without("");
    let said = String::from_utf8(skipped.stderr).unwrap();
    assert!(skipped.status.success() && said.contains("SKIPPED: a_redis_is_gone"));
    assert!(said.contains("apt-get install redis-server"), "{said}");
    assert!(!without("true").status.success());
}

#[test]
fn a_redis_comes_back_on_its_port_without_its_data() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let address = redis.address();
    let first = redis.info("run_id").unwrap();
    redis.command(&["SET", "key", "value"]).unwrap();
    redis.kill();
    assert!(refuses(address));
    redis.restart();
    assert_eq!(redis.address(), address);
    assert_eq!(redis.command(&["GET", "key"]).unwrap(), "");
    assert_ne!(redis.info("run_id").unwrap(), first);
}

#[test]
fn a_persistent_redis_comes_back_with_its_data() {
    let Some(mut redis) = Redis::persistent() else {
        return;
    };
    redis.command(&["SET", "key", "value"]).unwrap();
    redis.restart();
    assert_eq!(redis.command(&["GET", "key"]).unwrap(), "value");
}

#[test]
fn a_redis_that_hangs_answers_when_it_goes_on() {
    let Some(redis) = Redis::start() else { return };
    redis.pause();
    let (answered, answer) = mpsc::channel();
    let mut stream = TcpStream::connect(redis.address()).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    thread::spawn(move || {
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).unwrap();
        answered.send(pong).unwrap();
    });
    assert!(answer.recv_timeout(Duration::from_millis(50)).is_err());
    redis.resume();
    assert_eq!(&answer.recv_timeout(BOUND).unwrap(), b"+PONG\r\n");
}

#[test]
fn a_replica_has_the_data_and_refuses_to_write_until_it_is_promoted() {
    let (Some(primary), Some(replica)) = (Redis::start(), Redis::start()) else {
        return;
    };
    primary.command(&["SET", "key", "value"]).unwrap();
    replica.replicate(&primary);
    assert_eq!(replica.command(&["GET", "key"]).unwrap(), "value");
    let refused = replica.command(&["SET", "key", "other"]).unwrap_err();
    assert!(refused.to_string().starts_with("READONLY"), "{refused}");
    replica.promote();
    replica.command(&["SET", "key", "other"]).unwrap();
    assert_eq!(primary.command(&["GET", "key"]).unwrap(), "value");
}

#[test]
fn a_cluster_has_each_slot_on_one_of_three_nodes() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    let mut nodes = [0; 3];
    for key in 0..30 {
        let key = format!("key {key}");
        let taken = |node: &Redis| match node.command(&["SET", &key, "value"]) {
            Ok(_) => true,
            Err(error) if error.to_string().starts_with("MOVED") => false,
            Err(error) => panic!("{error}"),
        };
        let takers = cluster.nodes().iter().map(taken);
        let takers: Vec<_> = takers
            .enumerate()
            .filter_map(|(node, taken)| taken.then_some(node))
            .collect();
        assert_eq!(takers.len(), 1, "{key}: {takers:?}");
        nodes[takers[0]] += 1;
    }
    assert!(!nodes.contains(&0), "{nodes:?}");
}

#[test]
fn a_sentinel_promotes_the_replica_of_a_primary_that_is_gone_and_is_gone_when_it_is_dropped() {
    let (Some(mut primary), Some(replica)) = (Redis::start(), Redis::start()) else {
        return;
    };
    replica.replicate(&primary);
    let Some(mut sentinel) = RedisSentinel::start("name", &primary) else {
        return;
    };
    assert_eq!(sentinel.primary(), primary.address());
    primary.kill();
    sentinel.await_promotion(&replica);
    assert_eq!(replica.info("role").unwrap(), "master");
    let address = sentinel.address();
    sentinel.kill();
    assert!(refuses(address));
    sentinel.restart();
    assert_eq!(sentinel.primary(), replica.address());
    drop(sentinel);
    assert!(refuses(address));
}

/// Asks Postgres for a connection. The answer begins with an `R` if Postgres accepts.
fn connects(address: SocketAddr) -> bool {
    let ask = || -> io::Result<u8> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(BOUND))?;
        stream.write_all(b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0")?;
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        Ok(kind[0])
    };
    ask().is_ok_and(|kind| kind == b'R')
}

#[test]
fn a_postgres_comes_back_on_its_port_from_a_stop_and_from_a_crash_and_is_gone_when_it_is_dropped() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let (address, folder) = (postgres.address(), postgres.socket_folder().to_owned());
    assert!(connects(address));
    postgres.stop();
    assert!(refuses(address));
    postgres.restart();
    assert!(connects(address));
    postgres.crash();
    assert!(refuses(address));
    postgres.restart();
    assert!(postgres.address() == address && connects(address));
    drop(postgres);
    assert!(refuses(address) && !folder.exists());
}
