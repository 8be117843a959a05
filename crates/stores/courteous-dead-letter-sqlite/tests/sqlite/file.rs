use std::{fs, path::PathBuf};

use courteous_dead_letter::{Filter, LetterStore, Page, PushError, Sink, StoreError};
use courteous_dead_letter_sqlite::{SqliteFault, SqliteSettings, SqliteStore};
use tempfile::TempDir;

use crate::{claim, fault, intruder, letter, number, numbers, push, settle, store};

fn path() -> (PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (folder.path().join("letters.db"), folder)
}

#[tokio::test]
async fn a_store_is_found_again_as_it_was_left() {
    let (path, _folder) = path();
    let store = SqliteStore::open(&path).unwrap();
    push(&store, 0..3).await;
    settle(&store, &claim(&store, 1).await[0]).await;
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    let claimed = claim(&store, 9).await;
    let numbers: Vec<_> = claimed
        .iter()
        .map(|record| number(&record.letter))
        .collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_path_that_leads_nowhere_is_an_error_when_it_is_opened() {
    let (path, folder) = path();
    for path in [
        path.join("deeper.db"),
        folder.path().to_owned(),
        PathBuf::new(),
    ] {
        let error = SqliteStore::open(&path).unwrap_err();
        assert_eq!(
            fault(&error),
            Some(SqliteFault::Inaccessible),
            "{path:?}: {error:?}"
        );
    }
}

#[test]
fn a_file_that_must_be_there_is_not_created() {
    let (path, _folder) = path();
    let settings = SqliteSettings::new().with_create(false);
    let error = settings.clone().open(&path).unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Inaccessible));
    assert!(!path.exists());
    drop(SqliteStore::open(&path).unwrap());
    settings.open(&path).unwrap();
}

#[test]
fn a_newer_schema_is_rejected_and_left_as_it_is() {
    let (path, _folder) = path();
    drop(SqliteStore::open(&path).unwrap());
    intruder(&path)
        .pragma_update(None, "user_version", 7)
        .unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(
        matches!(error, StoreError::NewerSchema { found: 7, known: 1 }),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "the store has schema 7, and this version knows 1 at most"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_of_another_program_is_rejected_and_left_as_it_is() {
    let (path, _folder) = path();
    fs::write(
        &path,
        "Dear diary, today I learned that my name ends in .db",
    )
    .unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Alien));
    assert_eq!(fs::read(&path).unwrap(), before);

    fs::remove_file(&path).unwrap();
    intruder(&path)
        .execute_batch("CREATE TABLE birds (name TEXT)")
        .unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Alien));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_nothing_worse() {
    let (path, _folder) = path();
    let store = SqliteStore::open(&path).unwrap();
    push(&store, 0..500).await;
    drop(store);
    // This damages all but the header and the schema.
    let mut bytes = fs::read(&path).unwrap();
    let pages = bytes.iter_mut().skip(4096 * 2);
    pages
        .enumerate()
        .for_each(|(at, byte)| *byte ^= (at % 251) as u8 | 1);
    fs::write(&path, bytes).unwrap();

    let store = SqliteStore::open(&path).unwrap();
    let error = store
        .list(Filter::new(), Page::first(10))
        .await
        .unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Damaged), "{error:?}");
    let error = store.push(letter(1)).await.unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Damaged), "{error:?}");
}

#[tokio::test]
async fn what_is_pushed_into_a_file_that_was_removed_is_not_said_to_be_kept() {
    let (store, folder) = store();
    push(&store, 0..1).await;
    fs::remove_file(folder.path().join("letters.db")).unwrap();
    let error = store.push(letter(1)).await.unwrap_err();
    assert!(matches!(error, PushError::Failed(_)));
    assert_eq!(fault(&error), Some(SqliteFault::Moved));
}

#[tokio::test]
async fn two_stores_of_one_process_share_a_file() {
    let (path, _folder) = path();
    let one = SqliteStore::open(&path).unwrap();
    let two = SqliteStore::open(&path).unwrap();
    push(&one, 0..10).await;
    push(&two, 10..20).await;
    // The drop of one store does not lose the locks of the other.
    drop(one);
    push(&two, 20..30).await;
    assert_eq!(numbers(&two).await, Vec::from_iter(0..30));
}
