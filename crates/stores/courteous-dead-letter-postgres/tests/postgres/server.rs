//! One server for the tests that do not disturb it, and helpers for all tests.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use courteous_dead_letter::{
    Clock, Failure, Letter, LetterId, LetterStore, Page, Payload, Reason, Record, Tags,
};
use courteous_dead_letter_postgres::PostgresStore;
use courteous_test_servers::Postgres;
use http::{HeaderName, HeaderValue, Method, Uri};
use tokio::time::{Instant, sleep};
use tokio_postgres::NoTls;

/// A test's own schema, on a server that tests share. `None` if there is no Postgres here.
pub(crate) struct Database {
    _server: Arc<Postgres>,
    pub(crate) url: String,
}

impl Database {
    pub(crate) async fn start() -> Option<Self> {
        static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        let server = tokio::task::spawn_blocking(|| {
            let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
            let running = server.upgrade();
            running.or_else(|| {
                let started = Arc::new(Postgres::start_with(&["fsync=off"])?);
                *server = Arc::downgrade(&started);
                Some(started)
            })
        });
        let server = server.await.unwrap()?;
        let schema = format!("test_{}", NUMBER.fetch_add(1, Relaxed));
        execute(&server.url(), &format!("CREATE SCHEMA {schema}")).await;
        let url = format!("{}?options=-csearch_path%3D{schema}", server.url());
        Some(Self {
            _server: server,
            url,
        })
    }
}

/// Makes the store for the conformance tests. It is in memory if there is no Postgres here.
pub(crate) async fn store(clock: Clock) -> (Arc<dyn LetterStore>, Option<Database>) {
    let Some(database) = Database::start().await else {
        let memory = courteous_dead_letter::MemoryStore::new();
        return (Arc::new(memory.with_clock(clock)), None);
    };
    let builder = PostgresStore::builder(&database.url).unwrap();
    let store = builder.with_clock(clock).connect().await.unwrap();
    (Arc::new(store), Some(database))
}

/// Executes statements, and returns the first column of the rows found.
pub(crate) async fn execute(url: &str, statements: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let found = client.simple_query(statements).await.unwrap();
    connection.abort();
    let rows = found.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
        _ => None,
    });
    rows.collect()
}

/// An order that was not delivered.
pub(crate) fn letter(number: u32) -> Letter {
    let now = Clock::system().now();
    let uri = Uri::from_static("https://api.example.com/charges");
    let failure = Failure::new(Reason::Attempts, now);
    let mut letter = Letter::new(LetterId::new(now).unwrap(), Method::POST, uri, failure);
    let key = HeaderName::from_static("idempotency-key");
    let value = HeaderValue::try_from(format!("key-of-{number}")).unwrap();
    letter.headers.insert(key.clone(), value);
    letter.key_header = Some(key);
    letter.payload = Payload::Whole(format!(r#"{{"order":{number},"amount":4200}}"#).into());
    letter.tags = Tags::new().with("order", number.to_string());
    letter
}

/// All records.
pub(crate) async fn all(store: &dyn LetterStore) -> Vec<Record> {
    let (mut all, mut page) = (Vec::new(), Page::first(5_000));
    loop {
        let part = store.list(Default::default(), page).await.unwrap();
        let Some(last) = part.last() else { return all };
        page = Page::after(last.letter.id, 5_000);
        all.extend(part);
    }
}

/// Waits for `condition`.
pub(crate) async fn wait_for<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let end = Instant::now() + Duration::from_secs(120);
    while !condition().await {
        assert!(Instant::now() < end, "waited for too long: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
