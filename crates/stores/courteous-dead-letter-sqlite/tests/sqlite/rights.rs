//! The rights on the files of a store.
#![cfg(unix)]

use std::{
    error::Error,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use courteous_dead_letter::{LetterStore, PushError, Sink, StoreError};
use courteous_dead_letter_sqlite::{SqliteFault, SqliteSettings, SqliteStore};
use courteous_test_servers::as_another_user;
use tempfile::TempDir;
use tokio::runtime;

use crate::{
    fault, letter, numbers,
    processes::{say, variable},
    push, store,
};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A folder that others may enter.
fn open_folder() -> (PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o755);
    (folder.path().join("letters.db"), folder)
}

#[tokio::test]
async fn a_file_that_gives_others_too_many_rights_is_tightened() {
    let (store, folder) = store();
    push(&store, 0..1).await;
    let files =
        ["letters.db", "letters.db-wal", "letters.db-shm"].map(|name| folder.path().join(name));
    files.iter().for_each(|file| set_mode(file, 0o664));
    let again = SqliteStore::open(&files[0]).unwrap();
    assert_eq!(files.each_ref().map(|file| mode(file)), [0o600; 3]);

    // The rights are reduced only to the mode that was set.
    files.iter().for_each(|file| set_mode(file, 0o666));
    let settings = SqliteSettings::new().with_mode(0o640);
    settings.clone().open(&files[0]).unwrap();
    assert_eq!(files.each_ref().map(|file| mode(file)), [0o640; 3]);
    drop((store, again));
    let own = folder.path().join("own.db");
    let created = settings.open(&own).unwrap();
    push(&created, 0..1).await;
    assert_eq!(mode(&own) & !0o640, 0);
    assert_eq!(mode(&folder.path().join("own.db-wal")), mode(&own));
}

#[tokio::test]
async fn a_store_that_is_only_looked_at_is_not_changed() {
    let (path, folder) = open_folder();
    let store = SqliteStore::open(&path).unwrap();
    push(&store, 0..3).await;
    drop(store);
    set_mode(&path, 0o644);
    let before = fs::read(&path).unwrap();
    let names = || {
        let names = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let files = names();
    let reader = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(numbers(&reader).await, [0, 1, 2]);
    assert_eq!(reader.stats().await.unwrap().total(), 3);
    let error = reader.push(letter(3)).await.unwrap_err();
    assert!(matches!(error, PushError::Failed(_)), "{error:?}");
    let id = letter(0).id;
    let marked = reader
        .mark(id, courteous_dead_letter::Mark::Discarded)
        .await;
    assert_eq!(fault(&marked.unwrap_err()), Some(SqliteFault::Inaccessible));
    drop(reader);
    assert_eq!((names(), mode(&path)), (files, 0o644));
    assert!(fs::read(&path).unwrap() == before);
}

#[tokio::test]
async fn a_look_sees_what_was_written_since_the_store_was_opened() {
    let (path, _folder) = open_folder();
    drop(SqliteStore::open(&path).unwrap());
    let reader = SqliteStore::open_read_only(&path).unwrap();
    assert!(numbers(&reader).await.is_empty());
    for round in 0..3 {
        let writer = SqliteStore::open(&path).unwrap();
        push(&writer, 2 * round..2 * round + 1).await;
        assert_eq!(numbers(&reader).await.len() as u32, 2 * round + 1);
        push(&writer, 2 * round + 1..2 * round + 2).await;
        drop(writer);
        assert_eq!(numbers(&reader).await.len() as u32, 2 * round + 2);
    }
}

#[test]
fn a_file_that_is_no_store_is_rejected_by_a_reader_as_well() {
    let (path, folder) = open_folder();
    assert_eq!(
        fault(&SqliteStore::open_read_only(&path).unwrap_err()),
        Some(SqliteFault::Inaccessible)
    );
    fs::write(&path, "").unwrap();
    fs::write(
        folder.path().join("diary"),
        "Dear diary, today I learned nothing",
    )
    .unwrap();
    for path in [path, folder.path().join("diary")] {
        let error = SqliteStore::open_read_only(path).unwrap_err();
        assert_eq!(fault(&error), Some(SqliteFault::Alien), "{error:?}");
    }
}

/// Runs this test again as another user, with `action` for the function `act`, and returns its
/// output.
fn another_user(test: &str, folder: &TempDir, action: &str) -> Option<String> {
    // The other user may not enter the folder in which this program is.
    let program = folder.path().join("this");
    if !program.exists() {
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        set_mode(&program, 0o755);
    }
    let mut command = as_another_user(&program)?;
    command
        .args(["--exact", &format!("rights::{test}"), "--nocapture"])
        .env("LETTERS", folder.path().join("letters.db"))
        .env("ACTION", action);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{action}: {said}");
    Some(said)
}

/// The actions of the other user.
fn act(path: &str) {
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let opened: Result<SqliteStore, StoreError> = match variable("ACTION").unwrap().as_str() {
        "look" => SqliteStore::open_read_only(path),
        "write" => SqliteStore::open(path),
        other => panic!("{other}"),
    };
    match opened {
        Ok(store) => say(format!("{:?}", runtime.block_on(numbers(&store)))),
        Err(error) => {
            let causes = std::iter::successors(Some(&error as &dyn Error), |&error| error.source());
            let texts: Vec<_> = causes.map(ToString::to_string).collect();
            say(format!("{:?}: {}", fault(&error), texts.join(": ")));
        }
    }
}

#[test]
fn another_user_can_look_without_a_right_to_write() {
    const NAME: &str = "another_user_can_look_without_a_right_to_write";
    if let Some(path) = variable("LETTERS") {
        return act(&path);
    }
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let (path, folder) = open_folder();
    let look = || another_user(NAME, &folder, "look");
    let settings = SqliteSettings::new().with_mode(0o644);
    let store = settings.open(&path).unwrap();
    runtime.block_on(push(&store, 0..3));
    // The file is read while a store has it open, and then while none has.
    let Some(said) = look() else { return };
    assert_eq!(said, "[0, 1, 2]\n");
    drop(store);
    set_mode(&path, 0o444);
    set_mode(folder.path(), 0o555);
    assert_eq!(look().unwrap(), "[0, 1, 2]\n");
    let said = another_user(NAME, &folder, "write").unwrap();
    assert!(said.starts_with("Some(Inaccessible)"), "{said}");
    assert!(said.contains("user 65534 may not write to"), "{said}");
}

#[test]
fn the_right_that_is_missing_is_named() {
    const NAME: &str = "the_right_that_is_missing_is_named";
    if let Some(path) = variable("LETTERS") {
        return act(&path);
    }
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let (path, folder) = open_folder();
    let store = SqliteStore::open(&path).unwrap();
    runtime.block_on(push(&store, 0..3));
    let log = fs::read(folder.path().join("letters.db-wal")).unwrap();
    drop(store);
    let Some(said) = another_user(NAME, &folder, "look") else {
        return;
    };
    let expected = format!(
        "user 65534 may not read {} (mode 0600, of user 0)",
        path.display()
    );
    assert!(said.contains(&expected), "{said}");

    // A killed process has left a log.
    set_mode(&path, 0o644);
    let left = folder.path().join("letters.db-wal");
    fs::write(&left, log).unwrap();
    set_mode(&left, 0o644);
    let said = another_user(NAME, &folder, "look").unwrap();
    assert!(
        said.contains("letters.db-shm is missing, and user 65534 may not make it"),
        "{said}"
    );
    let reader = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(runtime.block_on(numbers(&reader)), [0, 1, 2]);
    drop(reader);

    // The file belongs to another user, and everyone may read and write it.
    fs::remove_file(left).unwrap();
    fs::remove_file(folder.path().join("letters.db-shm")).unwrap();
    set_mode(&path, 0o666);
    set_mode(folder.path(), 0o777);
    let said = another_user(NAME, &folder, "write").unwrap();
    assert!(
        said.starts_with("Some(Exposed)") && said.contains("mode 0666, may have 0600"),
        "{said}"
    );

    let inner = tempfile::tempdir_in(folder.path()).unwrap();
    set_mode(inner.path(), 0o644);
    let copy = inner.path().join("letters.db");
    fs::copy(&path, &copy).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&copy, &path).unwrap();
    let said = another_user(NAME, &folder, "look").unwrap();
    assert!(said.starts_with("Some(Inaccessible)"), "{said}");
}
