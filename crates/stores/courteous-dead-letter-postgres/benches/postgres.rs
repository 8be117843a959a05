//! Measures what the Postgres store does in a second, with its own server on this machine:
//! `cargo bench -p courteous-dead-letter-postgres`.
//!
//! Each commit is on disk before it is answered. So the figures say more about the disk than about
//! this crate.
#![allow(clippy::expect_used, reason = "a bench may panic")]

use std::{env, time::Duration};

use courteous_dead_letter::{
    Claim, Clock, Failure, Letter, LetterId, LetterStore, Payload, Reason, Record, Settlement,
    Sink, State,
};
use courteous_dead_letter_postgres::PostgresStore;
use courteous_test_servers::Postgres;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::{task::JoinSet, time::Instant};

/// An order with a key and a body of 1 KiB.
fn letter() -> Letter {
    let now = Clock::system().now();
    let uri = Uri::from_static("https://api.example.com/charges");
    let failure = Failure::new(Reason::Attempts, now);
    let mut letter = Letter::new(
        LetterId::new(now).expect("random bytes"),
        Method::POST,
        uri,
        failure,
    );
    let name = HeaderName::from_static("idempotency-key");
    let key = HeaderValue::from_static("f81d4fae-7dec-41d0-a765-00a0c91e6bf6");
    letter.headers.insert(name.clone(), key);
    letter.key_header = Some(name);
    letter.payload = Payload::Whole(vec![b'x'; 1024].into());
    letter
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // When run as a test, it only has to compile.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let store = PostgresStore::connect(&server.url())
        .await
        .expect("a store");
    let say = |what: &str, many: u32, since: Instant| {
        let rate = f64::from(many) / since.elapsed().as_secs_f64();
        println!("{what:<50} {rate:>8.0} a second");
    };

    let start = Instant::now();
    for _ in 0..500 {
        store.push(letter()).await.expect("a push");
    }
    say("pushes, one after the other", 500, start);

    let start = Instant::now();
    for _ in 0..50 {
        push_at_once(&store, 2_000).await;
    }
    say("pushes, 2,000 at once", 100_000, start);

    let start = Instant::now();
    store.stats().await.expect("stats");
    println!(
        "{:<50} {:>8.0} ms",
        "stats of 100,500 letters",
        start.elapsed().as_secs_f64() * 1e3
    );

    for workers in [1, 8, 64] {
        let start = Instant::now();
        let mut working = JoinSet::new();
        for _ in 0..workers {
            working.spawn(redrive(store.clone(), 2_000 / workers));
        }
        working.join_all().await;
        say(
            &format!("claimed one by one and settled, by {workers}"),
            2_000,
            start,
        );
    }

    server.crash();
    let start = Instant::now();
    server.restart();
    let restarted = start.elapsed();
    store.push(letter()).await.expect("a push");
    println!(
        "{:<50} {:>8.0} ms, of which the server took {:.0}",
        "from a crash to the next push",
        start.elapsed().as_secs_f64() * 1e3,
        restarted.as_secs_f64() * 1e3,
    );
}

async fn push_at_once(store: &PostgresStore, letters: usize) {
    let pushes: Vec<_> = (0..letters).map(|_| store.push(letter())).collect();
    for push in pushes {
        push.await.expect("a push");
    }
}

/// What a worker of a redrive does, without sending anything.
async fn redrive(store: PostgresStore, letters: u32) {
    for _ in 0..letters {
        let claim = Claim::new(1, Duration::from_secs(60));
        let claimed = store.claim(claim).await.expect("a claim").records;
        let (letter, fence) = claimed.first().map(fence).expect("a letter");
        let status = StatusCode::OK;
        let settled = store.settle(letter, fence, Settlement::Delivered { status });
        settled.await.expect("a settlement");
    }
}

fn fence(record: &Record) -> (LetterId, u64) {
    match record.state {
        State::Claimed { fence, .. } => (record.letter.id, fence),
        _ => (record.letter.id, 0),
    }
}
