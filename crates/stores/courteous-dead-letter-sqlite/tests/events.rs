//! The events that the store emits. A test cannot set a subscriber for the store's thread alone. So
//! this is the only test of its process.
#![cfg(feature = "tracing")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

use std::{num::NonZeroUsize, time::Duration};

use courteous_dead_letter::{Clock, Failure, Letter, LetterId, Reason, Sink};
use courteous_dead_letter_sqlite::SqliteSettings;
use courteous_testkit::Events;
use http::{Method, Uri};

fn letter() -> Letter {
    let now = Clock::system().now();
    let uri = Uri::from_static("https://api.example/charges?order=42");
    let id = LetterId::new(now).unwrap();
    Letter::new(id, Method::POST, uri, Failure::new(Reason::Attempts, now))
}

#[test]
fn a_letter_that_is_rejected_or_lost_is_told() {
    let events = Events::listen_to_all_threads().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let store = |wait| {
        let settings = SqliteSettings::new().with_max_queued(NonZeroUsize::MIN);
        settings.with_lock_timeout(wait).open(&path).unwrap()
    };
    let (patient, impatient) = (store(Duration::from_secs(600)), store(Duration::ZERO));
    let lock = rusqlite::Connection::open(&path).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();

    // The first letter waits for the lock, and leaves no room.
    let (kept, rejected) = (letter(), letter());
    drop(patient.push(kept));
    drop(patient.push(rejected.clone()));
    let of = "method=POST origin=https://api.example";
    let expected = format!(
        "ERROR courteous::dead_letter_sqlite rejected id={} cause=full {of} message=a dead letter was rejected",
        rejected.id
    );
    assert_eq!(events.take(), [expected]);

    // No caller is left to receive the error. When the last handle is dropped, the store's thread
    // has ended.
    drop(impatient.push(letter()));
    drop(impatient);
    let lost = "ERROR courteous::dead_letter_sqlite lost error=somebody else keeps the file of dead letters locked \
        change=push message=a change to a dead letter is lost, and no caller waits to be told";
    assert_eq!(events.take(), [lost]);

    lock.execute_batch("ROLLBACK").unwrap();
    drop(patient);
    assert!(events.take().is_empty());
}
