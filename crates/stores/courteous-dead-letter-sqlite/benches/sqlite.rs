//! Measures what the SQLite store does in a second:
//! `cargo bench -p courteous-dead-letter-sqlite --bench sqlite`.
//!
//! The figures say more about the disk than about this crate, so run the bench on the disk that
//! will hold the letters. `LETTERS=1000000` sets how many letters there are (100,000 by default),
//! and `TMPDIR` sets where they are.
#![allow(clippy::expect_used, reason = "a bench may panic")]

use std::{
    env, fs,
    io::{self, Read, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use courteous_core::{Effect, Fault, Verdict};
use courteous_dead_letter::{
    Claim, Clock, Failure, Filter, Letter, LetterId, LetterStore, Page, PastAttempt, Payload,
    Reason, Record, Settlement, Sink, State, StateKind, Tags,
};
use courteous_dead_letter_sqlite::{SqliteSettings, SqliteStore};
use courteous_test_servers::Process;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::{task::JoinSet, time::Instant};

const BODY: usize = 1024;

/// An order with six header fields, three failed attempts and a body of 1 KiB.
fn letter(number: usize) -> Letter {
    let now = Clock::system().now();
    let mut failure = Failure::new(Reason::Attempts, now);
    failure.attempts = 3;
    let verdict = Verdict::transient(Effect::MaybeProcessed, Fault::Server);
    let status = Some(StatusCode::SERVICE_UNAVAILABLE);
    failure.history = (1..=3)
        .map(|number| PastAttempt::new(number, now, verdict, status))
        .collect();
    failure.last_status = status;
    let uri = "https://api.example.com/v1/charges".parse();
    let mut letter = Letter::new(
        LetterId::new(now).expect("random bytes"),
        Method::POST,
        uri.expect("a target"),
        failure,
    );
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("user-agent", "shop/1.0"),
        ("x-request-id", "4b1c7c9e2f6d4d0e"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("idempotency-key", "f81d4fae-7dec-41d0-a765-00a0c91e6bf6"),
    ] {
        let name = HeaderName::from_static(name);
        letter.headers.insert(name, HeaderValue::from_static(value));
    }
    letter.key_header = Some(HeaderName::from_static("idempotency-key"));
    letter.payload = Payload::Whole(vec![b'x'; BODY].into());
    letter.tags = Tags::new().with("order", number.to_string());
    letter
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if let Some(path) = env::var_os("KILLED") {
        return push_until_killed(Path::new(&path)).await;
    }
    // When run as a test, it only has to compile.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let letters = env::var("LETTERS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(100_000);
    pushes().await;
    many(letters).await;
    recovery().await;
}

fn open(folder: &tempfile::TempDir) -> SqliteStore {
    let settings = SqliteSettings::new().with_max_file_bytes(u64::MAX);
    settings
        .open(folder.path().join("letters.db"))
        .expect("a file in a new folder")
}

fn per_second(what: &str, number: usize, start: Instant) {
    let took = start.elapsed();
    println!(
        "{what:48} {:>9.0}/s  {:>10.1?}",
        number as f64 / took.as_secs_f64(),
        took / number as u32
    );
}

fn once(what: &str, start: Instant) {
    println!("{what:48} {:>23.1?}", start.elapsed());
}

async fn pushes() {
    for tasks in [1, 10, 100, 1000] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        let each = (50_000 / tasks).min(2000);
        let mut running = JoinSet::new();
        let start = Instant::now();
        for _ in 0..tasks {
            let store = store.clone();
            running.spawn(async move {
                for number in 0..each {
                    store.push(letter(number)).await.expect("a push");
                }
            });
        }
        running.join_all().await;
        per_second(&format!("push, {tasks} at once"), tasks * each, start);
    }
}

async fn many(letters: usize) {
    println!("with {letters} letters:");
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    for start in (0..letters).step_by(1000) {
        let pushes: Vec<_> = (start..start + 1000)
            .map(|number| store.push(letter(number)))
            .collect();
        for push in pushes {
            push.await.expect("a push");
        }
    }
    drop(store);
    let bytes = fs::metadata(folder.path().join("letters.db"))
        .expect("the file")
        .len();
    println!(
        "{:48} {:>23}",
        "bytes of the file per letter",
        bytes / letters as u64
    );
    let start = Instant::now();
    let store = open(&folder);
    once("open", start);

    let start = Instant::now();
    let mut last = None;
    for _ in 0..500 {
        let claimed = claim(&store, 1).await;
        settle(&store, &claimed[0]).await;
        last = Some(claimed[0].letter.id);
    }
    per_second("claim 1, settle it", 500, start);

    let half = letters / 2;
    let start = Instant::now();
    let mut settled = 0;
    while settled < half {
        let claimed = claim(&store, 100).await;
        settled += claimed.len();
        let mut running = JoinSet::new();
        for record in claimed {
            let store = store.clone();
            running.spawn(async move { settle(&store, &record).await });
        }
        running.join_all().await;
    }
    per_second("claim 100, settle them at once", settled, start);

    let start = Instant::now();
    store.stats().await.expect("stats");
    once("stats", start);
    let start = Instant::now();
    let pending = Filter::new().with_state(StateKind::Pending);
    let page = store.list(pending, Page::first(100)).await.expect("a page");
    assert_eq!(page.len(), 100);
    once("list the first 100 that are pending", start);
    let start = Instant::now();
    let after = Page::after(last.expect("an id"), 100);
    store.list(Filter::new(), after).await.expect("a page");
    once("list 100 more of all", start);
    let start = Instant::now();
    let tagged = Filter::new().with_tag("order", (letters - 1).to_string());
    assert_eq!(
        store
            .list(tagged, Page::first(10))
            .await
            .expect("a page")
            .len(),
        1
    );
    once("list all of one tag (looks at each letter)", start);

    let start = Instant::now();
    let purge = tokio::spawn({
        let store = store.clone();
        async move { store.purge(Duration::ZERO).await.expect("a purge") }
    });
    let mut waits = Vec::new();
    while !purge.is_finished() {
        let start = Instant::now();
        store.push(letter(0)).await.expect("a push");
        waits.push(start.elapsed());
    }
    let purged = purge.await.expect("a purge");
    per_second("purge, while letters are pushed", purged as usize, start);
    waits.sort_unstable();
    let (median, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!(
        "{:48} {median:>11.1?} {worst:>11.1?}",
        "  a push meanwhile: median, worst"
    );
    let start = Instant::now();
    drop(store);
    once("drop", start);
    let after = fs::metadata(folder.path().join("letters.db"))
        .expect("the file")
        .len();
    println!(
        "{:48} {:>22}%",
        "size of the file after that",
        after * 100 / bytes
    );
}

async fn claim(store: &SqliteStore, max: u32) -> Vec<Record> {
    let claim = Claim::new(max, Duration::from_secs(60));
    store.claim(claim).await.expect("a claim").records
}

async fn settle(store: &SqliteStore, record: &Record) {
    if let State::Claimed { fence, .. } = record.state {
        let status = StatusCode::OK;
        let delivered = Settlement::Delivered { status };
        store
            .settle(record.letter.id, fence, delivered)
            .await
            .expect("to be settled");
    }
}

async fn push_until_killed(path: &Path) {
    let store = SqliteStore::open(path).expect("the file");
    for number in 0.. {
        let pushes: Vec<_> = (0..50).map(|_| store.push(letter(number))).collect();
        for push in pushes {
            push.await.expect("a push");
        }
        io::stdout().write_all(b".").expect("a pipe");
    }
}

/// Kills a process that pushes. Measures how long the next process takes to open its file.
async fn recovery() {
    let mut worst = Duration::ZERO;
    for kill in 1..=20 {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("letters.db");
        let mut command = Command::new(env::current_exe().expect("a path"));
        command.env("KILLED", &path).stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command).expect("a process");
        let mut output = process.child().stdout.take().expect("a pipe");
        output
            .read_exact(&mut vec![0; 10 * kill])
            .expect("a process that goes on");
        process.kill();
        let start = Instant::now();
        let store = SqliteStore::open(&path).expect("the file");
        store.stats().await.expect("stats");
        worst = worst.max(start.elapsed());
    }
    println!(
        "{:48} {worst:>23.1?}",
        "open after kill -9, and count: worst of 20"
    );
}
