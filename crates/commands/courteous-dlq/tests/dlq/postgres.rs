use courteous_dead_letter::{LetterStore, StateKind};
use courteous_dead_letter_postgres::PostgresStore;
use courteous_test_servers::{Postgres, ScriptedServer};

use crate::bench::{command, keys, push, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_in_postgres_are_listed_replayed_and_purged_alike() {
    let Some(database) = Postgres::start_with(&["fsync=off"]) else {
        return;
    };
    let server = ScriptedServer::answering([]).await.unwrap();
    let store = PostgresStore::connect(&database.url()).await.unwrap();
    let ids = push(&store, &server, 40).await;
    let dlq = async |args: &str| run(command(&database.url(), args)).await;

    assert_eq!(dlq("list --json").await.with(0).json().len(), 40);
    let discarded = dlq(&format!("discard {}", ids[0])).await.with(0);
    assert_eq!(discarded.out(), "1 changed\n");
    let both = tokio::join!(dlq("replay --json"), dlq("replay --json"));
    for ended in [both.0, both.1] {
        ended.with(0);
    }
    assert_eq!((keys(&server).len(), server.requests().len()), (39, 39));
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.in_state(StateKind::Delivered), 39);
    assert_eq!(
        dlq("purge --older-than 0s").await.with(0).out(),
        "40 deleted\n"
    );
}
