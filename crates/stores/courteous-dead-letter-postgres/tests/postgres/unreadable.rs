use std::time::Duration;

use courteous_dead_letter::{
    Claim, Filter, LetterStore, Mark, Page, Sink, StateKind, StoreError, Unreadable,
};
use courteous_dead_letter_postgres::PostgresStore;
use courteous_dead_letter_sqlite::SqliteStore;

use crate::server::{Database, all, execute, letter};

const ALL: Page = Page::first(100);

async fn pushed(store: &PostgresStore, letters: u32) -> Vec<courteous_dead_letter::LetterId> {
    let mut ids = Vec::new();
    for number in 0..letters {
        let letter = letter(number);
        ids.push(letter.id);
        store.push(letter).await.unwrap();
    }
    ids
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_and_holds_up_no_other() {
    let Some(database) = Database::start().await else {
        return;
    };
    let store = PostgresStore::connect(&database.url).await.unwrap();
    let nullable = "ALTER TABLE courteous_dead_letter ALTER uri DROP NOT NULL";
    execute(&database.url, nullable).await;
    for (column, value) in [
        ("headers", "'ham'"),
        ("uri", "NULL"),
        ("tags", "'[]'"),
        ("reason", "'boredom'"),
        ("body_kind", "'eaten'"),
        ("last_status", "7"),
        ("fence", "9223372036854775807"),
    ] {
        let ids = pushed(&store, 3).await;
        let broken = format!(
            "UPDATE courteous_dead_letter SET {column} = {value} WHERE id = '{}'",
            ids[1]
        );
        execute(&database.url, &broken).await;
        let id = |record: &courteous_dead_letter::Record| record.letter.id;

        let listed = store.list(Filter::new(), Page::first(2)).await.unwrap();
        assert!(listed.iter().map(id).eq([ids[0], ids[2]]), "{column}");
        let found = store.unreadable(Filter::new(), ALL).await.unwrap();
        assert_eq!(found, [Unreadable::new(Some(ids[1]), column)]);
        assert_eq!(store.stats().await.unwrap().total(), 3, "{column}");
        let error = store.get(ids[1]).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        // Another record is claimed in place of the unreadable record, which stays pending.
        let claim = Claim::new(2, Duration::from_secs(60));
        let claimed = store.claim(claim).await.unwrap();
        assert_eq!(
            claimed.unreadable,
            if column == "fence" {
                vec![]
            } else {
                found.clone()
            }
        );
        let claimed = claimed.records;
        assert!(claimed.iter().map(id).eq([ids[0], ids[2]]), "{column}");
        let pending = Filter::new().with_state(StateKind::Pending);
        assert_eq!(store.unreadable(pending, ALL).await.unwrap(), found);

        store.mark(ids[1], Mark::Discarded).await.unwrap();
        execute(
            &database.url,
            "UPDATE courteous_dead_letter SET state = 'discarded', changed_at = 1",
        )
        .await;
        assert_eq!(store.purge(Duration::ZERO).await.unwrap(), 3);
    }
}

#[tokio::test]
async fn a_state_that_is_not_known_here_is_never_purged() {
    let Some(database) = Database::start().await else {
        return;
    };
    let store = PostgresStore::connect(&database.url).await.unwrap();
    pushed(&store, 1).await;
    let parked = "UPDATE courteous_dead_letter SET state = 'parked', changed_at = 1";
    execute(&database.url, parked).await;
    assert_eq!(store.purge(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(store.stats().await.unwrap().unreadable, 1);
}

/// Otherwise one row would keep all spilled letters from the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spilled_letter_that_cannot_be_read_holds_up_no_other() {
    let Some(database) = Database::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spilled.db");
    let local = SqliteStore::open(&path).unwrap();
    for number in 0..3 {
        local.push(letter(number)).await.unwrap();
    }
    let file = rusqlite::Connection::open(&path).unwrap();
    let broken = "UPDATE requests SET headers = 'ham' WHERE seq = 1";
    file.execute(broken, ()).unwrap();
    let store = PostgresStore::builder(&database.url).unwrap();
    let store = store
        .with_spill(local, std::num::NonZeroU64::new(100).unwrap())
        .connect()
        .await
        .unwrap();
    let handed_over = async || all(&store).await.len() == 2;
    crate::server::wait_for("two are handed over", handed_over).await;
    let left = async || store.backlog().spilled == 1;
    crate::server::wait_for("one is left", left).await;
}
