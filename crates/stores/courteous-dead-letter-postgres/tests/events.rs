//! The events that the store emits. A test cannot set a subscriber for the store's thread alone. So
//! this is the only test of its process.
#![cfg(feature = "tracing")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

use std::{net::TcpListener, time::Duration};

use courteous_dead_letter::{Clock, Failure, Letter, LetterId, Reason, Sink};
use courteous_dead_letter_postgres::PostgresStore;
use courteous_testkit::Events;
use http::{Method, Uri};

fn letter() -> Letter {
    let now = Clock::system().now();
    let uri = Uri::from_static("https://api.example/charges?order=42");
    let id = LetterId::new(now).unwrap();
    Letter::new(id, Method::POST, uri, Failure::new(Reason::Attempts, now))
}

/// Pushes a letter for which no caller waits, until the thread of the store has ended.
fn push_and_drop(url: &str, patience: Duration) -> LetterId {
    let builder = PostgresStore::builder(url).unwrap();
    let store = builder.with_patience(patience).open();
    let letter = letter();
    let id = letter.id;
    drop(store.push(letter));
    id
}

#[test]
fn a_database_that_is_away_and_a_letter_that_is_lost_are_told() {
    let events = Events::listen_to_all_threads().unwrap();
    // This server accepts connections, and stays silent.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let id = push_and_drop(
        &format!("postgres://me:s3cret@{address}/letters"),
        Duration::ZERO,
    );
    let away = |fault| {
        format!(
            "WARN courteous::dead_letter_postgres away error={fault} message=the database of dead letters cannot be used"
        )
    };
    let lost = |id| {
        format!(
            "ERROR courteous::dead_letter_postgres lost id={id} error=the dead letter could not be written \
             method=POST origin=https://api.example message=a dead letter is lost: it could not be kept"
        )
    };
    assert_eq!(events.take(), [away("no answer in time"), lost(id)]);

    // A server that refuses connections.
    drop(silent);
    let id = push_and_drop(
        &format!("postgres://me:s3cret@{address}/letters"),
        Duration::from_millis(100),
    );
    let told = events.take();
    let (last, before) = told.split_last().unwrap();
    assert_eq!(*last, lost(id));
    for line in before {
        assert!(
            line.contains("error=error connecting to server: Connection refused"),
            "{line}"
        );
    }
    assert!(!before.is_empty());
}
