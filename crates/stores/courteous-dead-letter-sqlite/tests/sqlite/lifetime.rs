use std::{thread, time::Duration};

use courteous_dead_letter::{Claim, LetterStore, Sink};
use courteous_dead_letter_sqlite::{SqliteSettings, SqliteStore};
use tokio::{runtime, time};

use crate::{claim, intruder, letter, numbers, push, store};

#[tokio::test]
async fn what_was_handed_over_is_written_after_the_last_handle_is_gone() {
    let (store, folder) = store();
    let pushes: Vec<_> = (0..1000).map(|number| store.push(letter(number))).collect();
    drop(store);
    // The thread has ended. Its connection was the last one, so the log is gone.
    assert!(!folder.path().join("letters.db-wal").exists());
    let store = SqliteStore::open(folder.path().join("letters.db")).unwrap();
    assert_eq!(numbers(&store).await, Vec::from_iter(0..1000));
    for push in pushes {
        push.await.unwrap();
    }
}

#[tokio::test]
async fn a_drop_does_not_wait_for_ever_and_nothing_is_lost_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let settings = SqliteSettings::new().with_lock_timeout(Duration::from_secs(600));
    let store = settings.open(&path).unwrap();
    let lock = intruder(&path);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let pushed = store.push(letter(0));
    drop(store);
    lock.execute_batch("ROLLBACK").unwrap();
    pushed.await.unwrap();
}

#[test]
fn a_runtime_that_is_dropped_takes_no_letter_with_it() {
    let (store, _folder) = store();
    let runtime = runtime::Runtime::new().unwrap();
    let pushes: Vec<_> = (0..100).map(|number| store.push(letter(number))).collect();
    runtime.spawn(async move {
        for push in pushes {
            push.await.unwrap();
        }
    });
    runtime.shutdown_background();

    // The handle goes on in the next runtime.
    let next = runtime::Builder::new_current_thread().build().unwrap();
    next.block_on(async {
        push(&store, 100..101).await;
        assert_eq!(numbers(&store).await, Vec::from_iter(0..101));
    });
}

#[test]
fn a_letter_can_be_handed_over_without_a_runtime() {
    let (store, _folder) = store();
    let pushed = thread::spawn({
        let store = store.clone();
        move || drop(store.push(letter(7)))
    });
    pushed.join().unwrap();
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(numbers(&store)), [7]);
}

/// When the future of a claim was dropped, its letters must not be kept from other claims until the
/// lease ends.
#[tokio::test]
async fn a_claim_that_was_given_up_before_its_turn_claims_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let store = SqliteStore::open(&path).unwrap();
    push(&store, 0..3).await;
    let lock = intruder(&path);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The thread waits for the lock with this letter.
    let first = store.push(letter(3));
    while store.queued() == 0 {
        time::sleep(Duration::from_millis(1)).await;
    }
    let given_up = store.claim(Claim::new(9, Duration::from_secs(60)));
    time::timeout(Duration::from_millis(50), given_up)
        .await
        .unwrap_err();
    lock.execute_batch("ROLLBACK").unwrap();
    first.await.unwrap();
    assert_eq!(claim(&store, 9).await.len(), 4);
}
