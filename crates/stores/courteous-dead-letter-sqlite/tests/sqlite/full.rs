use std::{num::NonZeroUsize, time::Duration};

use courteous_dead_letter::{Failure, LetterStore, PushError, Reason, Settlement, Sink};
use courteous_dead_letter_sqlite::{SqliteSettings, SqliteStore};
use courteous_test_servers::SmallDisk;

use crate::{claim, fence, heavy_letter, intruder, letter, numbers, push, settle};

const KIB: usize = 1024;

#[tokio::test]
async fn a_full_file_rejects_letters_and_can_be_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let settings = SqliteSettings::new().with_max_file_bytes(512 * KIB as u64);
    let store = settings.open(&path).unwrap();
    let mut kept = 0;
    let error = loop {
        match store.push(heavy_letter(kept, 4 * KIB)).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, PushError::Full), "{error:?}");
    assert!((64..128).contains(&kept), "{kept}");
    assert_eq!(
        numbers(&store).await,
        Vec::from_iter(0..kept),
        "what was acknowledged is there"
    );
    // The file is full, and not the queue.
    assert_eq!((store.rejected(), store.queued()), (0, 0));

    // Stored letters can be settled, even if that takes more room.
    for record in claim(&store, kept).await {
        let mut failure = Failure::new(Reason::Deadline, record.changed_at);
        failure.last_error = Some("again and again".repeat(100));
        let failed = Settlement::Failed(failure);
        let settled = store.settle(record.letter.id, fence(&record), failed);
        settled.await.unwrap();
    }
    let error = store.push(letter(kept)).await.unwrap_err();
    assert!(matches!(error, PushError::Full), "{error:?}");
    for record in claim(&store, kept).await {
        settle(&store, &record).await;
    }
    let length = || std::fs::metadata(&path).unwrap().len();
    let full = length();
    assert_eq!(store.purge(Duration::ZERO).await.unwrap(), u64::from(kept));
    store.push(heavy_letter(0, 4 * KIB)).await.unwrap();
    drop(store);
    assert!(length() < full / 4, "{} of {full} bytes", length());
}

#[tokio::test]
async fn a_letter_that_does_not_fit_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let settings = SqliteSettings::new().with_max_file_bytes(512 * KIB as u64);
    let store = settings.open(&path).unwrap();
    // All of this happens in one transaction.
    let lock = intruder(&path);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let pushes: Vec<_> = (0..9)
        .map(|number| match number {
            4 => store.push(heavy_letter(4, 1024 * KIB)),
            number => store.push(letter(number)),
        })
        .collect();
    lock.execute_batch("ROLLBACK").unwrap();
    for (number, push) in pushes.into_iter().enumerate() {
        match push.await {
            Ok(()) => assert_ne!(number, 4),
            Err(error) => assert!(
                matches!((number, &error), (4, PushError::Full)),
                "{number}: {error:?}"
            ),
        }
    }
    assert_eq!(numbers(&store).await, [0, 1, 2, 3, 5, 6, 7, 8]);
}

#[tokio::test]
async fn a_full_queue_rejects_letters_at_once_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let store = SqliteSettings::new()
        .with_max_queued(NonZeroUsize::new(10).unwrap())
        .with_max_queued_bytes(64 * KIB)
        .open(&path)
        .unwrap();
    let lock = intruder(&path);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut pushes: Vec<_> = (0..10).map(|number| store.push(letter(number))).collect();
    for number in 10..15 {
        let error = store.push(letter(number)).await.unwrap_err();
        assert!(matches!(error, PushError::Full), "{error:?}");
    }
    assert_eq!((store.queued(), store.rejected()), (10, 5));
    lock.execute_batch("ROLLBACK").unwrap();
    for push in pushes.drain(..) {
        push.await.unwrap();
    }
    // The letters count until the thread takes more jobs, such as this look.
    assert_eq!(numbers(&store).await, Vec::from_iter(0..10));

    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let first = store.push(heavy_letter(10, 60 * KIB));
    let error = store.push(heavy_letter(11, 10 * KIB)).await.unwrap_err();
    assert!(matches!(error, PushError::Full), "{error:?}");
    assert_eq!(store.rejected(), 6);
    lock.execute_batch("ROLLBACK").unwrap();
    first.await.unwrap();
    push(&store, 11..12).await;
    assert_eq!(numbers(&store).await, Vec::from_iter(0..12));
}

/// Makes a disk of 4 MiB with a store on it, and pushes letters until no more fit.
async fn full_disk(
    folder: &std::path::Path,
    letter_bytes: usize,
) -> Option<(SmallDisk, SqliteStore, u32)> {
    let disk = SmallDisk::mount(&folder.join("disk"), 4096 * KIB as u64).unwrap()?;
    let settings = SqliteSettings::new().with_reserve(512 * KIB as u64);
    let store = settings.open(disk.path().join("letters.db")).unwrap();
    let mut kept = 0;
    let error = loop {
        match store.push(heavy_letter(kept, letter_bytes)).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, PushError::Full), "{error:?}");
    // Another program's file takes the rest.
    let mut rest = std::fs::File::create(disk.path().join("rest")).unwrap();
    let zeros = [0; KIB];
    while std::io::Write::write_all(&mut rest, &zeros).is_ok() {}
    Some((disk, store, kept))
}

async fn deliver_all(store: &SqliteStore) {
    loop {
        let claimed = claim(store, 8).await;
        if claimed.is_empty() {
            return;
        }
        for record in claimed {
            settle(store, &record).await;
        }
    }
}

#[tokio::test]
async fn a_full_disk_leaves_room_to_claim_settle_and_purge() {
    for letter_bytes in [KIB, 60 * KIB] {
        let folder = tempfile::tempdir().unwrap();
        let Some((disk, store, kept)) = full_disk(folder.path(), letter_bytes).await else {
            return;
        };
        let reserve = disk.path().join("letters.db-reserve");
        assert!(reserve.exists(), "{kept} letters have not used it");
        for _ in 0..20 {
            for record in claim(&store, 8).await {
                let released = Settlement::Released;
                let settled = store.settle(record.letter.id, fence(&record), released);
                settled.await.unwrap();
            }
        }
        deliver_all(&store).await;
        assert!(!reserve.exists());
        let error = store.push(letter(kept)).await.unwrap_err();
        assert!(matches!(error, PushError::Full), "{error:?}");
        assert_eq!(numbers(&store).await, Vec::from_iter(0..kept));
        let mut purged = 0;
        while purged < u64::from(kept) {
            purged += store.purge(Duration::ZERO).await.unwrap();
        }
        assert!(numbers(&store).await.is_empty());

        // When the disk has room again, the reserve is put in place first, and letters are kept.
        std::fs::remove_file(disk.path().join("rest")).unwrap();
        push(&store, 0..3).await;
        assert!(reserve.exists());
    }
}

#[tokio::test]
async fn a_store_on_a_full_disk_can_be_opened_and_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let Some((disk, store, kept)) = full_disk(folder.path(), 4 * KIB).await else {
        return;
    };
    drop(store);
    let mut rest = std::fs::OpenOptions::new()
        .append(true)
        .open(disk.path().join("rest"))
        .unwrap();
    while std::io::Write::write_all(&mut rest, &[0; KIB]).is_ok() {}
    let settings = SqliteSettings::new().with_reserve(512 * KIB as u64);
    let store = settings.open(disk.path().join("letters.db")).unwrap();
    deliver_all(&store).await;
    assert_eq!(store.purge(Duration::ZERO).await.unwrap(), u64::from(kept));
}

#[tokio::test]
async fn a_small_disk_is_not_full_of_the_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("disk"), 4096 * KIB as u64).unwrap();
    let Some(disk) = disk else { return };
    let store = SqliteStore::open(disk.path().join("letters.db")).unwrap();
    push(&store, 0..100).await;
    let reserve = std::fs::metadata(disk.path().join("letters.db-reserve"));
    assert_eq!(reserve.unwrap().len(), 512 * KIB as u64);
}

#[tokio::test]
async fn the_reserve_is_made_by_the_first_letter_and_by_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (path, reserve) = (
        folder.path().join("letters.db"),
        folder.path().join("letters.db-reserve"),
    );
    let none = SqliteSettings::new().with_reserve(0).open(&path).unwrap();
    push(&none, 0..1).await;
    let store = SqliteStore::open(&path).unwrap();
    claim(&store, 1).await;
    assert!(!reserve.exists());
    push(&store, 1..2).await;
    assert_eq!(
        std::fs::metadata(&reserve).unwrap().len(),
        8192 * KIB as u64
    );
}
