use std::{fs, path::Path, time::Duration};

use courteous_dead_letter::{LetterStore, PushError, Sink, Stats};
use courteous_dead_letter_sqlite::{SqliteFault, SqliteSettings};
use tokio::time;

use crate::{fault, intruder, letter, numbers, push};

/// Counts the commits in the log. A frame that states the size of the file is a commit ("WAL File
/// Format" in SQLite's documentation).
fn commits(path: &Path) -> usize {
    let log = fs::read(path.with_extension("db-wal")).unwrap();
    let frames = log[32..].chunks(24 + 4096);
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

/// A wait that is longer than any test.
const PATIENT: Duration = Duration::from_secs(600);

#[tokio::test]
async fn pushes_wait_for_a_locked_file_and_are_kept_in_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let store = SqliteSettings::new()
        .with_lock_timeout(PATIENT)
        .open(&path)
        .unwrap();
    let lock = intruder(&path);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();

    let pushes = tokio::spawn({
        let store = store.clone();
        async move { push(&store, 0..1000).await }
    });
    while store.queued() < 1000 {
        time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!pushes.is_finished());
    assert!(store.queued_bytes() > 1000 * 100);
    let before = commits(&path);
    lock.execute_batch("ROLLBACK").unwrap();
    pushes.await.unwrap();
    // The first commit waited for the lock. Another commit has the rest.
    let commits = commits(&path) - before;
    assert!((1..=2).contains(&commits), "{commits}");
    assert_eq!(numbers(&store).await, Vec::from_iter(0..1000));
    assert_eq!(
        (store.queued(), store.queued_bytes(), store.rejected()),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_file_that_stays_locked_is_a_typed_error_after_the_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let settings = SqliteSettings::new().with_lock_timeout(Duration::from_millis(50));
    let store = settings.clone().open(&path).unwrap();
    let lock = intruder(&path);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.push(letter(0)).await.unwrap_err();
    assert!(matches!(error, PushError::Failed(_)), "{error:?}");
    assert_eq!(fault(&error), Some(SqliteFault::Locked));
    let error = store.purge(Duration::ZERO).await.unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Locked));
    // A look needs no lock, and neither does opening the file.
    assert_eq!(store.stats().await.unwrap(), Stats::default());
    settings.open(&path).unwrap();

    lock.execute_batch("COMMIT").unwrap();
    store.push(letter(0)).await.unwrap();
}

#[tokio::test]
async fn the_timeout_may_be_nothing_or_for_ever() {
    for timeout in [Duration::ZERO, Duration::MAX] {
        let folder = tempfile::tempdir().unwrap();
        let settings = SqliteSettings::new().with_lock_timeout(timeout);
        let store = settings.open(folder.path().join("letters.db")).unwrap();
        push(&store, 0..3).await;
    }
}
