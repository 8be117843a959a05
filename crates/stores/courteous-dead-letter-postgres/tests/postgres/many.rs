use std::time::Duration;

use courteous_dead_letter::{Claim, LetterStore, Settlement, Sink, State, StateKind};
use courteous_dead_letter_postgres::PostgresStore;
use http::StatusCode;
use tokio::time::Instant;

use crate::server::{Database, letter};

/// Prints how fast it went: `cargo test --release ... -- --nocapture a_hundred_thousand`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_letters_are_kept_and_the_oldest_claimed_settled_and_purged() {
    const LETTERS: u32 = 100_000;
    const SETTLED: u32 = 20_000;
    let Some(database) = Database::start().await else {
        return;
    };
    let store = PostgresStore::connect(&database.url).await.unwrap();
    let said = |what: &str, since: Instant, many: u32| {
        let seconds = since.elapsed().as_secs_f64();
        println!("{what}: {:.0} a second", f64::from(many) / seconds);
    };

    let start = Instant::now();
    for part in 0..LETTERS / 5_000 {
        let numbers = part * 5_000..(part + 1) * 5_000;
        let pushes: Vec<_> = numbers.map(|number| store.push(letter(number))).collect();
        for push in pushes {
            push.await.unwrap();
        }
    }
    said("pushed", start, LETTERS);

    let start = Instant::now();
    assert_eq!(
        store.stats().await.unwrap().undelivered(),
        u64::from(LETTERS)
    );
    println!("counted in {:?}", start.elapsed());

    let start = Instant::now();
    let mut after = None;
    for _ in 0..SETTLED / 1_000 {
        let mut claim = Claim::new(1_000, Duration::from_secs(60));
        claim.after = after;
        let claimed = store.claim(claim).await.unwrap().records;
        assert_eq!(claimed.len(), 1_000);
        after = claimed.last().map(|record| record.letter.id);
        assert!(claimed.is_sorted_by_key(|record| record.letter.id));
        let settles = claimed.into_iter().map(|record| {
            let store = store.clone();
            tokio::spawn(async move {
                let State::Claimed { fence, .. } = record.state else {
                    panic!("{:?}", record.state);
                };
                let status = StatusCode::OK;
                let outcome = Settlement::Delivered { status };
                store.settle(record.letter.id, fence, outcome).await
            })
        });
        for settle in settles.collect::<Vec<_>>() {
            settle.await.unwrap().unwrap();
        }
    }
    said("claimed and settled", start, SETTLED);
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.in_state(StateKind::Delivered), u64::from(SETTLED));

    let start = Instant::now();
    let purged = store.purge(Duration::ZERO).await.unwrap();
    assert_eq!(purged, u64::from(SETTLED));
    said("purged", start, SETTLED);
    let left = store.stats().await.unwrap().total();
    assert_eq!(left, u64::from(LETTERS - SETTLED));
}
