use std::{process::Stdio, time::Duration};

use courteous_dead_letter::{Claim, Clock, LetterStore, Settlement, State, StateKind};
use courteous_dead_letter_sqlite::SqliteSettings;
use courteous_test_servers::{Process, ScriptedServer};
use tokio::time::{Instant, sleep};

use crate::bench::{Bench, keys, slow_server};

/// Starts a replay, and waits until `server` has seen this many requests.
async fn replay_until(bench: &Bench, server: &ScriptedServer, requests: usize) -> Process {
    let mut command = bench.command("replay --concurrency 4");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::spawn(&mut command).unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    while server.requests().len() < requests {
        assert!(Instant::now() < end, "{} requests", server.requests().len());
        sleep(Duration::from_millis(2)).await;
    }
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_lets_what_is_under_way_come_to_its_end_and_leaves_nothing_claimed() {
    // With this many letters, the command cannot finish before it is told to stop, however late
    // that is.
    let (bench, server) = (Bench::new(), slow_server(Duration::from_millis(400)).await);
    bench.push(&server, 200).await;
    let mut process = replay_until(&bench, &server, 10).await;
    process.signal("INT");
    let status = tokio::task::block_in_place(|| process.wait()).unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(bench.count(StateKind::Claimed).await, 0);
    let delivered = bench.count(StateKind::Delivered).await as usize;
    assert_eq!(delivered, server.requests().len());
    assert!(delivered < 200);

    assert_eq!(
        bench.run("replay --concurrency 64").await.with(0).out(),
        format!("{} delivered\n", 200 - delivered)
    );
    assert!(keys(&server).into_values().all(|sent| sent.len() == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_was_killed_is_gone_on_with_and_nothing_is_sent_under_a_second_key() {
    const LETTERS: u32 = 120;
    let (bench, server) = (Bench::new(), slow_server(Duration::from_millis(20)).await);
    bench.push(&server, LETTERS).await;
    for requests in [7, 31, 50] {
        let mut process = replay_until(&bench, &server, requests).await;
        process.kill();
    }
    let ended = bench.run("replay --concurrency 32").await.with(0);
    // Letters in flight stay claimed until their lease ends: here, for an hour.
    let claimed = bench.count(StateKind::Claimed).await;
    assert!(ended.err().contains(&format!("{claimed} more are claimed")));
    assert!((1..=12).contains(&claimed), "{claimed}");
    let clock = Clock::fixed(Clock::system().now() + Duration::from_secs(3600));
    let path = bench.url();
    let path = path.strip_prefix("sqlite:").unwrap();
    let later = SqliteSettings::new().with_clock(clock).open(path).unwrap();
    let hour = Duration::from_secs(3600);
    let left = later.claim(Claim::new(100, hour)).await.unwrap().records;
    assert_eq!(left.len() as u64, claimed);
    for record in left {
        let State::Claimed { fence, .. } = record.state else {
            panic!("{:?}", record.state);
        };
        later
            .settle(record.letter.id, fence, Settlement::Released)
            .await
            .unwrap();
    }
    bench.run("replay").await.with(0);

    assert_eq!(bench.count(StateKind::Delivered).await, u64::from(LETTERS));
    let keys = keys(&server);
    assert_eq!(keys.len(), LETTERS as usize);
    let twice = keys.values().filter(|sent| sent.len() > 1).count();
    assert!(twice as u64 <= claimed, "{twice}");
    // Each order was only ever sent under its own key.
    for (key, sent) in keys {
        let order = key.replace("key-of-", "order ");
        assert!(sent.iter().all(|sent| *sent == order), "{key}: {sent:?}");
    }
}
