use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use courteous_core::find_cause;
use courteous_dead_letter::{
    Claim, LetterId, LetterStore, PushError, Settlement, Sink, State, StateKind, StoreError,
};
use courteous_dead_letter_postgres::{PostgresError, PostgresStore};
use courteous_test_servers::{ChaosProxy, Course, Flow, Postgres};
use http::StatusCode;

use crate::server::{Database, all, execute, letter, wait_for};

const OK: Settlement = Settlement::Delivered {
    status: StatusCode::OK,
};
const PATIENCE: Duration = Duration::from_secs(120);
const LEASE: Duration = Duration::from_secs(60);

/// Pushes until it is told to stop. Returns the ids of the letters that the store reported as kept.
fn keep_pushing(
    store: &PostgresStore,
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<Vec<LetterId>> {
    let (store, stop) = (store.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut kept = Vec::new();
        for number in 0.. {
            if stop.load(Relaxed) {
                break;
            }
            let letter = letter(number);
            let id = letter.id;
            match store.push(letter).await {
                Ok(()) => kept.push(id),
                // This job met three broken connections.
                Err(error) => assert!(find_cause::<PostgresError>(&error).unwrap().is_away()),
            }
        }
        kept
    })
}

async fn assert_kept(store: &PostgresStore, pushing: Vec<tokio::task::JoinHandle<Vec<LetterId>>>) {
    let mut kept = Vec::new();
    for pushing in pushing {
        kept.extend(pushing.await.unwrap());
    }
    let found = all(store).await;
    let found: std::collections::HashSet<_> = found.iter().map(|found| found.letter.id).collect();
    let lost = kept.iter().filter(|id| !found.contains(*id)).count();
    assert_eq!(lost, 0, "of {}", kept.len());
    assert!(kept.len() > 100, "{}", kept.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_when_the_server_is_restarted() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let store = PostgresStore::builder(&server.url()).unwrap();
    let store = store.with_patience(PATIENCE).connect().await.unwrap();
    let stop = Arc::default();
    let pushing = (0..16).map(|_| keep_pushing(&store, &stop)).collect();
    for crash in [true, false, true] {
        let before = store.stats().await.unwrap().total();
        wait_for("pushes go on", async || {
            store.stats().await.unwrap().total() > before + 50
        })
        .await;
        if crash {
            server.crash();
        }
        server.restart();
    }
    stop.store(true, Relaxed);
    assert_kept(&store, pushing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_when_connections_are_terminated() {
    let Some(database) = Database::start().await else {
        return;
    };
    let store = PostgresStore::builder(&database.url).unwrap();
    let store = store.with_patience(PATIENCE).connect().await.unwrap();
    let stop = Arc::default();
    let pushing = (0..16).map(|_| keep_pushing(&store, &stop)).collect();
    for _ in 0..20 {
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND query LIKE '%courteous_dead_letter%'";
        execute(&database.url, terminate).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    wait_for("pushes go on", async || {
        store.stats().await.unwrap().total() > 200
    })
    .await;
    stop.store(true, Relaxed);
    assert_kept(&store, pushing).await;
}

/// Makes connections whose answers break off after some bytes, each at another place.
async fn broken_answers(database: &Database) -> (ChaosProxy, PostgresStore) {
    let config: tokio_postgres::Config = database.url.parse().unwrap();
    let server = (std::net::Ipv4Addr::LOCALHOST, config.get_ports()[0]).into();
    let script = |number| {
        let bytes = 900 + 61 * (number as u64 % 20);
        Course::smooth().with_down(Flow::smooth().reset_after(bytes))
    };
    let proxy = ChaosProxy::start(server, script).await.unwrap();
    let through = proxy.address().to_string();
    let url = database.url.replace(&server.to_string(), &through);
    let store = PostgresStore::builder(&url).unwrap();
    (proxy, store.with_patience(PATIENCE).open())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_without_an_answer_is_asked_for_again_and_is_there_once() {
    let Some(database) = Database::start().await else {
        return;
    };
    let direct = PostgresStore::connect(&database.url).await.unwrap();
    let (proxy, store) = broken_answers(&database).await;
    let mut failed = 0;
    for number in 0..100 {
        failed += u32::from(store.push(letter(number)).await.is_err());
    }
    assert!(proxy.connections() > 10, "{}", proxy.connections());
    let records = direct.claim(Claim::new(1000, LEASE)).await.unwrap().records;
    assert!(records.len() >= 100 - failed as usize);

    // The same holds for outcomes: an outcome that was committed without an answer is not stale
    // when it is sent again.
    let mut settled = 0;
    for record in &records {
        let State::Claimed { fence, .. } = record.state else {
            panic!("{:?}", record.state);
        };
        match store.settle(record.letter.id, fence, OK).await {
            Ok(()) => settled += 1,
            Err(error) => assert!(find_cause::<PostgresError>(&error).is_some(), "{error:?}"),
        }
    }
    assert!(failed < 20 && settled > 80, "{failed}, {settled}");
    let found = all(&direct).await;
    assert!(found.iter().all(|record| record.redrives <= 1));
    let delivered = found.iter().filter(|record| record.redrives == 1).count();
    assert!(delivered >= settled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_redrivers_deliver_each_letter_once_also_when_the_server_is_restarted() {
    const LETTERS: u32 = 400;
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let url = server.url();
    let open = || {
        PostgresStore::builder(&url)
            .unwrap()
            .with_patience(PATIENCE)
    };
    let store = open().connect().await.unwrap();
    let pushes: Vec<_> = (0..LETTERS)
        .map(|number| store.push(letter(number)))
        .collect();
    for push in pushes {
        push.await.unwrap();
    }
    // A claim whose answer was lost ends with its lease.
    let lease = Duration::from_secs(2);
    let redrivers: Vec<_> = (0..2)
        .map(|_| {
            let store = open().open();
            tokio::spawn(async move {
                let mut delivered = 0;
                while store.stats().await.unwrap().undelivered() > 0 {
                    for record in store
                        .claim(Claim::new(8, lease))
                        .await
                        .unwrap_or_default()
                        .records
                    {
                        let State::Claimed { fence, .. } = record.state else {
                            panic!("{:?}", record.state);
                        };
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        match store.settle(record.letter.id, fence, OK).await {
                            Ok(()) => delivered += 1,
                            Err(StoreError::StaleFence) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                }
                delivered
            })
        })
        .collect();
    let delivered = async || store.stats().await.unwrap().in_state(StateKind::Delivered);
    wait_for("a part is delivered", async || delivered().await > 50).await;
    server.crash();
    server.restart();
    let mut sum = 0;
    for redriver in redrivers {
        sum += redriver.await.unwrap();
    }
    assert_eq!((sum, delivered().await), (LETTERS, u64::from(LETTERS)));
    assert!(all(&store).await.iter().all(|record| record.redrives == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_waited_for_no_longer_than_was_allowed() {
    let Some(database) = Database::start().await else {
        return;
    };
    drop(PostgresStore::connect(&database.url).await.unwrap());
    let config: tokio_postgres::Config = database.url.parse().unwrap();
    let server = (std::net::Ipv4Addr::LOCALHOST, config.get_ports()[0]).into();
    // The server accepts the connection, and then stays silent.
    let silent = Course::smooth().with_down(Flow::smooth().black_hole_after(0));
    let proxy = ChaosProxy::start(server, move |_| silent).await.unwrap();
    let url = database
        .url
        .replace(&server.to_string(), &proxy.address().to_string());
    let store = PostgresStore::builder(&url).unwrap();
    let store = store.with_patience(Duration::from_millis(200)).open();

    let error = store.push(letter(1)).await.unwrap_err();
    assert!(find_cause::<PostgresError>(&error).unwrap().is_away());
    let error = store.stats().await.unwrap_err();
    assert!(find_cause::<PostgresError>(&error).unwrap().is_away());
    assert_eq!(store.backlog().letters, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_beyond_the_bound_are_rejected_at_once_and_counted() {
    // No server listens there.
    let builder = PostgresStore::builder("postgres://postgres@127.0.0.1:1/postgres").unwrap();
    let (two, bytes) = (
        NonZeroUsize::new(2).unwrap(),
        NonZeroU32::new(1 << 20).unwrap(),
    );
    let store = builder
        .clone()
        .with_max_waiting(two, bytes)
        .with_patience(PATIENCE)
        .open();
    let (_first, _second) = (store.push(letter(1)), store.push(letter(2)));
    assert!(matches!(store.push(letter(3)).await, Err(PushError::Full)));
    let backlog = store.backlog();
    assert_eq!((backlog.letters, backlog.rejected), (2, 1));

    let many = NonZeroUsize::new(100).unwrap();
    let few = NonZeroU32::new(4 << 10).unwrap();
    let store = builder
        .with_max_waiting(many, few)
        .with_patience(PATIENCE)
        .open();
    let mut heavy = letter(1);
    heavy.payload = courteous_dead_letter::Payload::Whole(vec![0; 100_000].into());
    // A large letter is taken when it is alone, as it is in memory already.
    let _heavy = store.push(heavy);
    assert!(matches!(store.push(letter(2)).await, Err(PushError::Full)));
    assert_eq!(store.backlog().bytes, 4 << 10);
}

#[test]
fn a_store_serves_two_runtimes_in_turn_and_none() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let Some(database) = runtime().block_on(Database::start()) else {
        return;
    };
    let store = PostgresStore::builder(&database.url).unwrap().open();
    // The letter is pushed outside a runtime, and awaited inside one.
    let push = store.push(letter(1));
    runtime().block_on(push).unwrap();
    runtime().block_on(store.push(letter(2))).unwrap();
    drop(store.push(letter(3)));
    // The drop of the last handle waits for the letter.
    drop(store);
    let left = runtime().block_on(async {
        let store = PostgresStore::connect(&database.url).await.unwrap();
        store.stats().await.unwrap().total()
    });
    assert_eq!(left, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_ends_with_the_last_handle() {
    let Some(server) = Postgres::start_with(&["fsync=off"]) else {
        return;
    };
    let url = server.url();
    let connections = async || {
        let others = "SELECT count(*) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        execute(&url, others).await.remove(0)
    };
    let store = PostgresStore::connect(&url).await.unwrap();
    let clone = store.clone();
    drop(store);
    assert_eq!(clone.stats().await.unwrap().total(), 0);
    assert_eq!(connections().await, "1");
    drop(clone);
    wait_for("there is no connection", async || {
        connections().await == "0"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patience_may_be_endless_or_none() {
    let nowhere = PostgresStore::builder("postgres://postgres@127.0.0.1:1/postgres").unwrap();
    let none = nowhere.clone().with_patience(Duration::ZERO).open();
    let error = none.push(letter(1)).await.unwrap_err();
    assert!(find_cause::<PostgresError>(&error).unwrap().is_away());

    let endless = nowhere.with_patience(Duration::MAX).open();
    let push = endless.push(letter(1));
    let waited = tokio::time::timeout(Duration::from_millis(300), push).await;
    assert!(waited.is_err(), "{waited:?}");
    assert_eq!(endless.backlog().letters, 1);

    let Some(database) = Database::start().await else {
        return;
    };
    let store = PostgresStore::builder(&database.url).unwrap();
    let store = store.with_patience(Duration::MAX).connect().await.unwrap();
    store.push(letter(1)).await.unwrap();
}
