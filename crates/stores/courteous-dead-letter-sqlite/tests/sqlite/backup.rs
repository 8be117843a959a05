use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use courteous_dead_letter_sqlite::{SqliteFault, SqliteStore};

use crate::{fault, intruder, numbers, push, store};

#[test]
fn a_backup_has_every_letter_that_was_acknowledged_before_while_more_are_written() {
    let (store, folder) = store();
    let (acknowledged, stop) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            let mut number = 0;
            while stop.load(SeqCst) == 0 {
                runtime.block_on(push(&store, number..number + 3));
                number += 3;
                acknowledged.store(number, SeqCst);
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for round in 0..5 {
            while acknowledged.load(SeqCst) <= 30 * round {
                std::thread::yield_now();
            }
            let before = acknowledged.load(SeqCst);
            let target = folder.path().join(format!("backup-{round}.db"));
            store.backup(&target).unwrap();
            let copy = SqliteStore::open_read_only(&target).unwrap();
            let there = runtime.block_on(numbers(&copy));
            assert!(there.len() as u32 >= before, "{} of {before}", there.len());
            assert_eq!(there, Vec::from_iter(0..there.len() as u32));
        }
        stop.store(1, SeqCst);
    });
}

#[tokio::test]
async fn a_backup_is_a_store_that_only_its_owner_can_read() {
    let (store, folder) = store();
    push(&store, 0..3).await;
    let target = folder.path().join("copy.db");
    store.backup(&target).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let copy = SqliteStore::open(&target).unwrap();
    push(&copy, 3..6).await;
    assert_eq!(numbers(&copy).await, Vec::from_iter(0..6));
    drop(copy);
    let pragma =
        |name| intruder(&target).pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    const INCREMENTAL: i64 = 2;
    assert_eq!(pragma("auto_vacuum"), Ok(INCREMENTAL));

    // A store that no process has open can be copied, too.
    drop(store);
    let closed = SqliteStore::open_read_only(folder.path().join("letters.db")).unwrap();
    let target = folder.path().join("%41?copy#.db");
    closed.backup(&target).unwrap();
    let copy = SqliteStore::open_read_only(&target).unwrap();
    assert_eq!(numbers(&copy).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_leaves_nothing_behind_when_it_fails() {
    let (store, folder) = store();
    push(&store, 0..3).await;
    let target = folder.path().join("copy.db");
    fs::write(&target, "of another program").unwrap();
    let error = store.backup(&target).unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Inaccessible));
    assert_eq!(fs::read(&target).unwrap(), b"of another program");

    let nowhere = folder.path().join("no/folder.db");
    assert!(store.backup(&nowhere).is_err());

    fs::remove_file(folder.path().join("letters.db")).unwrap();
    let target = folder.path().join("another.db");
    let error = store.backup(&target).unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Moved));
    assert!(!target.exists());
}

#[tokio::test]
async fn a_damaged_store_gives_no_backup() {
    let (store, folder) = store();
    push(&store, 0..500).await;
    drop(store);
    let path = folder.path().join("letters.db");
    let mut bytes = fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096 * 4).step_by(7) {
        *byte ^= 0x55;
    }
    fs::write(&path, bytes).unwrap();
    let target = folder.path().join("copy.db");
    let store = SqliteStore::open_read_only(&path).unwrap();
    let error = store.backup(&target).unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Damaged), "{error:?}");
    assert!(!target.exists());
}
