use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use courteous_dead_letter::{Filter, LetterStore, Page, Sink};
use courteous_dead_letter_sqlite::{SqliteFault, SqliteStore};
use tokio::runtime;

use crate::{
    claim, fault, intruder, letter, numbers,
    processes::{command_again, say, variable},
    push, store,
};

const FILES: [&str; 3] = ["letters.db", "letters.db-wal", "letters.db-shm"];

/// Asserts that nothing is acknowledged any more.
async fn assert_moved(store: &SqliteStore) {
    let error = store.push(letter(99)).await.unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Moved), "{error:?}");
    let error = store.purge(std::time::Duration::ZERO).await.unwrap_err();
    assert_eq!(fault(&error), Some(SqliteFault::Moved), "{error:?}");
}

#[tokio::test]
async fn nothing_is_said_to_be_kept_when_one_of_the_three_files_is_removed_or_another_one() {
    for name in FILES {
        let (removed, folder) = store();
        push(&removed, 0..3).await;
        fs::remove_file(folder.path().join(name)).unwrap();
        assert_moved(&removed).await;

        let (replaced, folder) = store();
        push(&replaced, 0..3).await;
        let (path, other) = (folder.path().join(name), folder.path().join("other"));
        fs::write(&other, fs::read(&path).unwrap()).unwrap();
        fs::rename(other, path).unwrap();
        assert_moved(&replaced).await;
        // The open file can still be read, so its letters can be saved.
        assert_eq!(numbers(&replaced).await, [0, 1, 2], "{name}");
    }
}

#[tokio::test]
async fn a_claim_and_its_settlement_are_not_acknowledged_either() {
    let (store, folder) = store();
    push(&store, 0..3).await;
    let claimed = claim(&store, 1).await;
    fs::remove_file(folder.path().join("letters.db-wal")).unwrap();
    let released = courteous_dead_letter::Settlement::Released;
    let settled = store.settle(claimed[0].letter.id, crate::fence(&claimed[0]), released);
    assert_eq!(fault(&settled.await.unwrap_err()), Some(SqliteFault::Moved));
}

#[tokio::test]
async fn what_was_acknowledged_before_only_the_log_was_removed_is_put_into_the_database() {
    let (store, folder) = store();
    push(&store, 0..20).await;
    fs::remove_file(folder.path().join("letters.db-wal")).unwrap();
    assert_moved(&store).await;
    // The copy is the file without its log, as after a kill.
    let copy = folder.path().join("copy.db");
    fs::copy(folder.path().join("letters.db"), &copy).unwrap();
    let copy = SqliteStore::open(copy).unwrap();
    assert_eq!(numbers(&copy).await, Vec::from_iter(0..20));
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_was_renamed_and_a_link_that_leads_elsewhere_are_noticed() {
    let outer = tempfile::tempdir().unwrap();
    let [one, two, link] = ["one", "two", "current"].map(|name| outer.path().join(name));
    fs::create_dir(&one).unwrap();
    let renamed = SqliteStore::open(one.join("letters.db")).unwrap();
    push(&renamed, 0..3).await;
    fs::rename(&one, &two).unwrap();
    assert_moved(&renamed).await;
    drop(renamed);

    fs::create_dir(&one).unwrap();
    std::os::unix::fs::symlink(&two, &link).unwrap();
    let linked = SqliteStore::open(link.join("letters.db")).unwrap();
    push(&linked, 3..6).await;
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&one, &link).unwrap();
    assert_moved(&linked).await;
    drop(linked);
    let found = SqliteStore::open(two.join("letters.db")).unwrap();
    assert_eq!(numbers(&found).await, Vec::from_iter(0..6));
}

/// SQLite removes the log by its name. That may be the log of the file that is there now.
#[tokio::test]
async fn a_store_whose_file_was_replaced_leaves_the_files_of_the_new_one_alone() {
    let (old, folder) = store();
    push(&old, 0..3).await;
    let (path, backup) = (
        folder.path().join("letters.db"),
        folder.path().join("backup.db"),
    );
    old.backup(&backup).unwrap();
    fs::rename(&backup, &path).unwrap();
    for name in &FILES[1..] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert_moved(&old).await;
    let new = SqliteStore::open(&path).unwrap();
    push(&new, 3..6).await;
    drop(old);
    assert!(folder.path().join("letters.db-wal").exists());
    push(&new, 6..9).await;
    assert_eq!(numbers(&new).await, Vec::from_iter(0..9));
}

/// When a process copies its own file, it releases its locks on that file. Another process may then
/// believe that it is the last user, and remove the log.
#[test]
fn what_was_acknowledged_after_a_copy_in_the_same_process_is_there_after_a_kill() {
    const NAME: &str =
        "moved::what_was_acknowledged_after_a_copy_in_the_same_process_is_there_after_a_kill";
    const ROUNDS: u32 = 10;
    const LETTERS: u32 = 5;
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    if let Some(path) = variable("LETTERS") {
        let store = SqliteStore::open(&path).unwrap();
        let mut lines = std::io::stdin().lines();
        for round in 0.. {
            let first = round * LETTERS;
            for number in first..first + LETTERS {
                match runtime.block_on(store.push(letter(number))) {
                    Ok(()) => say(format!("kept {number}")),
                    Err(error) => {
                        assert_eq!(fault(&error), Some(SqliteFault::Moved));
                        say(format!("moved {number}"));
                    }
                }
            }
            // A careless backup does this. The log may be gone by now.
            for suffix in ["", "-wal", "-shm"] {
                let _ = fs::copy(format!("{path}{suffix}"), format!("{path}.copy{suffix}"));
            }
            say("copied".to_owned());
            lines.next().unwrap().unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let mut command = command_again(NAME, &[("LETTERS", path.display().to_string())]);
    command.stdin(Stdio::piped());
    let mut process = courteous_test_servers::Process::spawn(&mut command).unwrap();
    let output = BufReader::new(process.child().stderr.take().unwrap());
    let mut input = process.child().stdin.take().unwrap();
    let (mut round, mut kept) = (0, Vec::new());
    for line in output.lines() {
        match line.unwrap().split(' ').collect::<Vec<_>>()[..] {
            ["kept", number] => kept.push(number.parse::<u32>().unwrap()),
            ["moved", _] => {}
            ["copied"] if round == ROUNDS => process.kill(),
            ["copied"] => {
                // A store, or another program, opens the file and closes it again.
                match round % 2 {
                    0 => drop(SqliteStore::open(&path).unwrap()),
                    _ => intruder(&path)
                        .pragma_update(None, "user_version", 1)
                        .unwrap(),
                }
                round += 1;
                input.write_all(b"go on\n").unwrap();
            }
            ref other => panic!("{other:?}"),
        }
    }
    assert!(kept.len() >= LETTERS as usize);
    let store = SqliteStore::open(&path).unwrap();
    let there = runtime.block_on(numbers(&store));
    let lost: Vec<_> = kept
        .iter()
        .filter(|number| !there.contains(number))
        .collect();
    assert!(lost.is_empty(), "of {} lost: {lost:?}", kept.len());
    let all = runtime.block_on(store.list(Filter::new(), Page::first(1000)));
    assert_eq!(all.unwrap().len(), there.len());
    #[cfg(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    assert_eq!(
        kept.len() as u32,
        (ROUNDS + 1) * LETTERS,
        "nothing was rejected"
    );
}
