//! The SQLite store keeps the promises of every store, whatever happens to its file, its process
//! and its neighbours.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod backup;
mod encrypted;
mod file;
mod full;
mod lifetime;
mod locked;
mod many;
mod moved;
mod processes;
mod rights;
mod secrets;
mod unreadable;

use std::{path::Path, sync::Arc, time::Duration};

use courteous_core::find_cause;
use courteous_dead_letter::{
    Claim, Clock, Failure, Letter, LetterId, LetterStore, Page, Payload, Reason, Record,
    Settlement, State, Tags, conformance,
};
use courteous_dead_letter_sqlite::{SqliteError, SqliteFault, SqliteSettings, SqliteStore};
use http::{HeaderName, HeaderValue, Method, StatusCode};

conformance!(mod sqlite {
    async |clock: Clock| {
        let folder = tempfile::tempdir().unwrap();
        let settings = SqliteSettings::new().with_clock(clock);
        let store = settings.open(folder.path().join("letters.db")).unwrap();
        (Arc::new(store) as Arc<dyn LetterStore>, folder)
    }
});

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// An order that was not delivered. Its key and its body follow from its number, as they do from a
/// real call.
fn letter(number: u32) -> Letter {
    let now = Clock::system().now();
    let uri = format!("https://api.example.com/charges?order={number}").parse();
    let failure = Failure::new(Reason::Attempts, now);
    let mut letter = Letter::new(
        LetterId::new(now).unwrap(),
        Method::POST,
        uri.unwrap(),
        failure,
    );
    let key = HeaderValue::try_from(format!("key-of-{number}")).unwrap();
    letter.headers.insert(KEY, key);
    letter.key_header = Some(KEY);
    letter.payload = Payload::Whole(format!(r#"{{"order":{number},"amount":4200}}"#).into());
    letter.tags = Tags::new().with("order", number.to_string());
    letter
}

/// The number from which a letter was made.
fn number(letter: &Letter) -> u32 {
    letter.tags.get("order").unwrap().parse().unwrap()
}

/// Makes a letter whose body has `bytes` bytes.
fn heavy_letter(number: u32, bytes: usize) -> Letter {
    let mut letter = letter(number);
    letter.payload = Payload::Whole(vec![b'x'; bytes].into());
    letter
}

async fn push(store: &impl LetterStore, numbers: impl IntoIterator<Item = u32>) -> Vec<LetterId> {
    let mut ids = Vec::new();
    let pushes: Vec<_> = numbers
        .into_iter()
        .map(|number| {
            let letter = letter(number);
            ids.push(letter.id);
            store.push(letter)
        })
        .collect();
    for push in pushes {
        push.await.unwrap();
    }
    ids
}

async fn claim(store: &impl LetterStore, max: u32) -> Vec<Record> {
    let lease = Duration::from_secs(3600);
    store.claim(Claim::new(max, lease)).await.unwrap().records
}

async fn settle(store: &impl LetterStore, record: &Record) {
    let delivered = Settlement::Delivered {
        status: StatusCode::OK,
    };
    let settled = store.settle(record.letter.id, fence(record), delivered);
    settled.await.unwrap();
}

fn fence(record: &Record) -> u64 {
    match record.state {
        State::Claimed { fence, .. } => fence,
        state => panic!("not claimed: {state:?}"),
    }
}

/// The numbers of all the letters, in order.
async fn numbers(store: &impl LetterStore) -> Vec<u32> {
    let all = store
        .list(Default::default(), Page::first(u32::MAX))
        .await
        .unwrap();
    let mut numbers: Vec<_> = all.iter().map(|record| number(&record.letter)).collect();
    numbers.sort_unstable();
    numbers
}

fn fault(error: &(dyn std::error::Error + 'static)) -> Option<SqliteFault> {
    find_cause::<SqliteError>(error).map(SqliteError::fault)
}

/// Another program that has opened the file.
fn intruder(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    // This is enough, however slow the disk is.
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    connection
}

/// A test's own store, in a folder that is removed with it.
fn store() -> (SqliteStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("letters.db")).unwrap();
    (store, folder)
}
