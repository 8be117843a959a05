use std::{
    num::NonZeroU64,
    time::{Duration, UNIX_EPOCH},
};

use courteous_core::find_cause;
use courteous_dead_letter::{Letter, LetterStore, MemoryStore, PushError, Reason, Sink, StateKind};
use courteous_dead_letter_postgres::{PostgresError, PostgresStore};
use courteous_dead_letter_sqlite::{SqliteError, SqliteFault, SqliteStore};
use courteous_test_servers::Postgres;

use crate::server::{all, execute, letter, wait_for};

const MOST: NonZeroU64 = NonZeroU64::new(100).unwrap();

/// A local store in a file, as nothing else outlives the process.
fn local() -> (SqliteStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("spilled.db")).unwrap();
    (store, folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_kept_on_this_machine_while_postgres_is_away_and_handed_over_when_it_is_back() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let (local, _folder) = local();
    let store = PostgresStore::builder(&server.url()).unwrap();
    let store = store
        .with_spill(local.clone(), MOST)
        .connect()
        .await
        .unwrap();
    store.push(letter(0)).await.unwrap();

    server.crash();
    for number in 1..=20 {
        store.push(letter(number)).await.unwrap();
    }
    assert_eq!(local.stats().await.unwrap().undelivered(), 20);
    wait_for("it is seen", async || store.backlog().spilled == 20).await;

    server.restart();
    wait_for("all are handed over", async || store.backlog().spilled == 0).await;
    let there = all(&store).await;
    assert_eq!(there.len(), 21);
    assert!(
        there
            .iter()
            .all(|record| record.state.kind() == StateKind::Pending)
    );
    // Nothing stays behind.
    wait_for("nothing is left", async || {
        local.stats().await.unwrap().total() == 0
    })
    .await;
    assert_eq!(store.backlog().rejected, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_process_has_spilled_is_handed_over_once() {
    let Some(server) = Postgres::start_with(&["fsync=off"]) else {
        return;
    };
    let (local, _folder) = local();
    let before = PostgresStore::connect(&server.url()).await.unwrap();
    for number in 0..600 {
        let letter = letter(number);
        if number % 2 == 0 {
            // The letter was handed over, and the process was killed before it was removed here.
            before.push(letter.clone()).await.unwrap();
        }
        local.push(letter).await.unwrap();
    }
    let store = PostgresStore::builder(&server.url()).unwrap();
    let store = store
        .with_spill(local.clone(), MOST)
        .connect()
        .await
        .unwrap();
    wait_for("nothing is left", async || {
        local.stats().await.unwrap().total() == 0
    })
    .await;
    assert_eq!(all(&store).await.len(), 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spill_rejects_letters_and_counts_them() {
    let builder = PostgresStore::builder("postgres://postgres@127.0.0.1:1/postgres").unwrap();
    let three = NonZeroU64::new(3).unwrap();
    let store = builder.with_spill(MemoryStore::new(), three).open();
    let mut rejected = 0;
    for number in 0..5 {
        match store.push(letter(number)).await {
            Ok(()) => {}
            Err(PushError::Full) => rejected += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(rejected, 2);
    wait_for("it is seen", async || store.backlog().spilled == 3).await;
    assert_eq!(store.backlog().rejected, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_postgres_refuses_stays_and_holds_up_no_other() {
    let Some(server) = Postgres::start_with(&["fsync=off"]) else {
        return;
    };
    let url = server.url();
    drop(PostgresStore::connect(&url).await.unwrap());
    let refuse = "ALTER TABLE courteous_dead_letter ADD CHECK (idempotency_key <> 'key-of-7')";
    execute(&url, refuse).await;
    let local = MemoryStore::new();
    for number in 0..20 {
        local.push(letter(number)).await.unwrap();
    }
    let store = PostgresStore::builder(&url).unwrap();
    let store = store
        .with_spill(local.clone(), MOST)
        .connect()
        .await
        .unwrap();
    wait_for("one is left", async || {
        local.stats().await.unwrap().total() == 1
    })
    .await;
    assert_eq!(all(&store).await.len(), 19);
    assert_eq!(store.backlog().spilled, 1);
    tokio::time::sleep(Duration::from_millis(10)).await;
    store.push(letter(21)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_kept_on_this_machine_while_postgres_refuses_all_of_them() {
    let Some(server) = Postgres::start_with(&["fsync=off"]) else {
        return;
    };
    let admin = server.url();
    let execute = async |statements| drop(execute(&admin, statements).await);
    execute("CREATE ROLE shop LOGIN; GRANT ALL ON SCHEMA public TO shop").await;
    let url = admin.replace("//postgres@", "//shop@");
    assert_ne!(url, admin);
    let (local, _folder) = local();
    let builder = PostgresStore::builder(&url).unwrap();
    let store = builder.clone().with_spill(local.clone(), MOST);
    let store = store.connect().await.unwrap();
    store.push(letter(0)).await.unwrap();
    let without = builder.connect().await.unwrap();

    execute("ALTER TABLE courteous_dead_letter OWNER TO postgres").await;
    let pushes: Vec<_> = (1..=20).map(|number| store.push(letter(number))).collect();
    for push in pushes {
        push.await.unwrap();
    }
    assert_eq!(local.stats().await.unwrap().undelivered(), 20);
    // Only letters can be spilled.
    let error = store.stats().await.unwrap_err();
    let refused = |error: &(dyn std::error::Error + 'static)| {
        let error = find_cause::<PostgresError>(error).unwrap();
        (error.code() == Some("42501"), error.is_away())
    };
    assert_eq!(refused(&error), (true, false));
    let error = without.push(letter(21)).await.unwrap_err();
    assert_eq!(refused(&error), (true, false));

    execute("ALTER TABLE courteous_dead_letter OWNER TO shop").await;
    wait_for("all are handed over", async || store.backlog().spilled == 0).await;
    assert_eq!(all(&store).await.len(), 21);
    assert_eq!(store.backlog().rejected, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_not_said_to_be_kept_in_a_spill_whose_file_was_removed() {
    let Some(mut server) = Postgres::start_with(&["fsync=off"]) else {
        return;
    };
    for name in ["spilled.db", "spilled.db-wal", "spilled.db-shm"] {
        let (local, folder) = local();
        let store = PostgresStore::builder(&server.url()).unwrap();
        let store = store.with_spill(local, MOST).connect().await.unwrap();
        server.crash();
        store.push(letter(1)).await.unwrap();
        std::fs::remove_file(folder.path().join(name)).unwrap();
        let error = store.push(letter(2)).await.unwrap_err();
        let found = find_cause::<SqliteError>(&error).map(SqliteError::fault);
        assert_eq!(found, Some(SqliteFault::Moved), "{name}: {error:?}");
        assert_eq!(store.backlog().rejected, 1);
        // The store goes on without a spill.
        server.restart();
        wait_for("it is back", async || store.push(letter(3)).await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_expired_from_the_beginning_is_handed_over_as_the_others_are() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let (local, _folder) = local();
    let store = PostgresStore::builder(&server.url()).unwrap();
    let store = store.with_spill(local.clone(), MOST);
    let store = store.connect().await.unwrap();
    server.crash();
    let mut letters = Vec::new();
    let ends = [Reason::KeyRunsOut, Reason::KeyReused].map(Some);
    for (number, end) in (0..).zip([ends[0], None, ends[1], None]) {
        let mut letter = letter(number);
        letter.failure.reason = end.unwrap_or(letter.failure.reason);
        let then = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        letter.failure.not_before = Some(then);
        letters.push(letter.clone());
        store.push(letter).await.unwrap();
    }
    assert_eq!(local.stats().await.unwrap().undelivered(), 4);

    server.restart();
    wait_for("all are handed over", async || store.backlog().spilled == 0).await;
    for (letter, expired) in letters.into_iter().zip([true, false, true, false]) {
        let record = store.get(letter.id).await.unwrap().unwrap();
        let of = |letter: &Letter| {
            let failure = &letter.failure;
            (failure.reason, failure.not_before, letter.tags.clone())
        };
        assert_eq!(of(&record.letter), of(&letter));
        let state = if expired {
            StateKind::Expired
        } else {
            StateKind::Pending
        };
        assert_eq!(record.state.kind(), state);
    }
}
