//! The command, a store for it, and a server that counts its requests.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use courteous_dead_letter::{
    Clock, Failure, Letter, LetterId, LetterStore, Payload, Reason, Record, StateKind, Tags,
};
use courteous_dead_letter_sqlite::SqliteStore;
use courteous_test_servers::{Act, Moment, ScriptedServer};
use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A store in a file, and the command on it.
pub(crate) struct Bench {
    folder: TempDir,
    pub(crate) store: SqliteStore,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("letters.db")).unwrap();
        Self { folder, store }
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("letters.db")
    }

    /// Closes the store, and returns its folder.
    #[cfg(unix)]
    pub(crate) fn close(self) -> TempDir {
        self.folder
    }

    /// The command with these arguments, separated by blanks.
    pub(crate) fn command(&self, args: &str) -> Command {
        command(&self.url(), args)
    }

    pub(crate) async fn run(&self, args: &str) -> Ended {
        run(self.command(args)).await
    }

    /// Pushes this many orders that `server` has not received.
    pub(crate) async fn push(&self, server: &ScriptedServer, orders: u32) -> Vec<LetterId> {
        push(&self.store, server, orders).await
    }

    pub(crate) async fn record(&self, id: LetterId) -> Record {
        self.store.get(id).await.unwrap().unwrap()
    }

    pub(crate) async fn count(&self, state: StateKind) -> u64 {
        self.store.stats().await.unwrap().in_state(state)
    }
}

pub(crate) async fn push(
    store: &dyn LetterStore,
    server: &ScriptedServer,
    orders: u32,
) -> Vec<LetterId> {
    let mut ids = Vec::new();
    for number in 0..orders {
        let letter = letter(server, number);
        ids.push(letter.id);
        store.push(letter).await.unwrap();
    }
    ids
}

pub(crate) fn letter(server: &ScriptedServer, number: u32) -> Letter {
    let now = Clock::system().now();
    let uri = server.uri(&format!("/orders/{number}")).parse().unwrap();
    let failure = Failure::new(Reason::Attempts, now);
    let mut letter = Letter::new(LetterId::new(now).unwrap(), Method::POST, uri, failure);
    let key = HeaderValue::try_from(format!("key-of-{number}")).unwrap();
    letter.headers.insert(KEY, key);
    letter.key_header = Some(KEY);
    letter.payload = Payload::Whole(format!("order {number}").into());
    letter.tags = Tags::new().with("order", number.to_string());
    letter
}

pub(crate) fn command(store: &str, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_courteous-dlq"));
    command.env("COURTEOUS_DLQ_STORE", store);
    command.args(args.split_whitespace());
    command
}

pub(crate) async fn run(mut command: Command) -> Ended {
    let output = tokio::task::spawn_blocking(move || command.output());
    Ended(output.await.unwrap().unwrap())
}

/// How the command ended.
#[derive(Debug)]
pub(crate) struct Ended(Output);

impl Ended {
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "{self:?}");
        self
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// The objects in the lines of its output.
    pub(crate) fn json(&self) -> Vec<Value> {
        let out = self.out();
        let lines = out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// A server that needs some time for each order.
pub(crate) async fn slow_server(time: Duration) -> ScriptedServer {
    let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
    ScriptedServer::start(move |moment| match moment {
        Moment::Request(_) => Some(drip(&bytes, time)),
        _ => None,
    })
    .await
    .unwrap()
}

fn drip(bytes: &[u8], time: Duration) -> Act {
    // Two parts, and a pause after each.
    let chunk = bytes.len().div_ceil(2);
    Act::Drip {
        bytes: bytes.to_vec().into(),
        chunk,
        pause: time / 2,
    }
}

/// How often each key has arrived, and the bytes with it.
pub(crate) fn keys(server: &ScriptedServer) -> HashMap<String, Vec<String>> {
    let mut keys: HashMap<_, Vec<_>> = HashMap::new();
    for request in server.requests() {
        let key = request.header("idempotency-key").unwrap().to_owned();
        let body = String::from_utf8(request.body.clone()).unwrap();
        keys.entry(key).or_default().push(body);
    }
    keys
}
