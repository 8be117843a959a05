use courteous_dead_letter::{LetterStore, Sink, StoreError};
use courteous_dead_letter_postgres::PostgresStore;

use crate::server::{Database, execute, letter};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_machines_start_at_once_on_an_empty_database() {
    let Some(database) = Database::start().await else {
        return;
    };
    let starting: Vec<_> = (0..8)
        .map(|number| {
            let url = database.url.clone();
            tokio::spawn(async move {
                let store = PostgresStore::connect(&url).await.unwrap();
                store.push(letter(number)).await.unwrap();
            })
        })
        .collect();
    for started in starting {
        started.await.unwrap();
    }
    let store = PostgresStore::connect(&database.url).await.unwrap();
    assert_eq!(store.stats().await.unwrap().total(), 8);
    let versions = execute(
        &database.url,
        "SELECT version FROM courteous_dead_letter_schema",
    )
    .await;
    assert_eq!(versions, ["1"]);
}

#[tokio::test]
async fn a_newer_schema_is_rejected_and_left_as_it_is() {
    let Some(database) = Database::start().await else {
        return;
    };
    drop(PostgresStore::connect(&database.url).await.unwrap());
    let newer = "UPDATE courteous_dead_letter_schema SET version = 7";
    execute(&database.url, newer).await;

    let error = PostgresStore::connect(&database.url).await.unwrap_err();
    assert!(
        matches!(error, StoreError::NewerSchema { found: 7, known: 1 }),
        "{error:?}"
    );
    let message = "the store has schema 7, and this version knows 1 at most";
    assert_eq!(error.to_string(), message);

    // A store that has not connected yet reports the same for a push, and does not wait for its
    // patience.
    let store = PostgresStore::builder(&database.url).unwrap().open();
    let error = store.push(letter(1)).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(cause.to_string(), message);
    let versions = execute(
        &database.url,
        "SELECT version FROM courteous_dead_letter_schema",
    )
    .await;
    assert_eq!(versions, ["7"]);
}

#[tokio::test]
async fn an_error_with_nul_in_it_is_written_without() {
    let Some(database) = Database::start().await else {
        return;
    };
    let store = PostgresStore::connect(&database.url).await.unwrap();
    let mut letter = letter(1);
    letter.failure.last_error = Some("a\0b".to_owned());
    let id = letter.id;
    store.push(letter).await.unwrap();
    let read = store.get(id).await.unwrap().unwrap().letter;
    assert_eq!(read.failure.last_error.as_deref(), Some("ab"));
}

#[tokio::test]
async fn no_error_shows_what_is_in_the_url_or_in_a_row() {
    let Some(database) = Database::start().await else {
        return;
    };
    let secret = "hunter2";
    let url = format!("postgres://postgres:{secret}@127.0.0.1:1/postgres?connect_timeout={secret}");
    let error = PostgresStore::builder(&url).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    let url = format!("postgres://postgres:{secret}@127.0.0.1:1/postgres");
    let builder = PostgresStore::builder(&url).unwrap();
    assert!(!format!("{builder:?}").contains(secret));
    let patience = std::time::Duration::from_millis(1);
    let error = builder.with_patience(patience).connect().await.unwrap_err();
    assert!(!format!("{error:?}").contains(secret), "{error:?}");

    let store = PostgresStore::connect(&database.url).await.unwrap();
    let no_orders = "ALTER TABLE courteous_dead_letter ADD CHECK (body = '')";
    execute(&database.url, no_orders).await;
    let error = store.push(letter(4242)).await.unwrap_err();
    let shown = format!("{error:?}");
    assert!(
        shown.contains("23514") && !shown.contains("4242"),
        "{shown}"
    );
    // Only that letter failed.
    let mut empty = letter(1);
    empty.payload = courteous_dead_letter::Payload::Gone;
    let pushes = [letter(2), empty, letter(3)].map(|letter| store.push(letter));
    let mut kept = Vec::new();
    for push in pushes {
        kept.push(push.await.is_ok());
    }
    assert_eq!(kept, [false, true, false]);
}

#[tokio::test]
async fn what_only_looks_needs_no_right_to_write() {
    let Some(database) = Database::start().await else {
        return;
    };
    let store = PostgresStore::connect(&database.url).await.unwrap();
    let letter = letter(1);
    let id = letter.id;
    store.push(letter).await.unwrap();
    let schema = database.url.split("%3D").last().unwrap();
    let role = format!("reader_of_{schema}");
    execute(
        &database.url,
        &format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"
        ),
    )
    .await;
    let url = database.url.replace("postgres@", &format!("{role}@"));
    let reader = PostgresStore::connect(&url).await.unwrap();
    assert_eq!(reader.stats().await.unwrap().total(), 1);
    assert!(reader.get(id).await.unwrap().is_some());
    let page = courteous_dead_letter::Page::first(10);
    assert_eq!(
        reader.list(Default::default(), page).await.unwrap().len(),
        1
    );
    let found = reader.unreadable(Default::default(), page).await.unwrap();
    assert!(found.is_empty());
    let discarded = reader
        .mark(id, courteous_dead_letter::Mark::Discarded)
        .await;
    let error = discarded.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("permission denied"), "{cause}");
}
