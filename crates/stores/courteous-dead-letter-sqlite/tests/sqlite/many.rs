use std::{num::NonZeroUsize, time::Duration};

use courteous_dead_letter::{Filter, LetterStore, Page, Sink, StateKind};
use courteous_dead_letter_sqlite::SqliteSettings;

use crate::{claim, letter, number, push, settle};

const LETTERS: u32 = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_letters_are_pushed_claimed_listed_counted_and_purged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let all = NonZeroUsize::new(LETTERS as usize).unwrap();
    let store = SqliteSettings::new()
        .with_max_queued(all)
        .with_max_queued_bytes(1 << 30)
        .open(&path)
        .unwrap();
    let ids = push(&store, 0..LETTERS).await;
    assert!(ids.is_sorted());

    // A tenth of the letters are claimed, and half of these are settled.
    let mut claimed = Vec::new();
    while claimed.len() < LETTERS as usize / 10 {
        claimed.extend(claim(&store, 1000).await);
    }
    assert!(
        claimed
            .iter()
            .map(|record| record.letter.id)
            .eq(ids[..10_000].iter().copied())
    );
    let mut settles = Vec::new();
    for record in claimed.into_iter().step_by(2) {
        let store = store.clone();
        settles.push(tokio::spawn(async move { settle(&store, &record).await }));
    }
    for settle in settles {
        settle.await.unwrap();
    }
    let stats = store.stats().await.unwrap();
    let counts = [StateKind::Pending, StateKind::Claimed, StateKind::Delivered]
        .map(|state| stats.in_state(state));
    assert_eq!(counts, [90_000, 5_000, 5_000]);

    // Looks up the last page of a list and a tag, and makes one claim.
    let delivered = Filter::new().with_state(StateKind::Delivered);
    let page = store
        .list(delivered, Page::after(ids[9_980], 100))
        .await
        .unwrap();
    let numbers: Vec<_> = page.iter().map(|record| number(&record.letter)).collect();
    assert_eq!(numbers, Vec::from_iter((9_982..10_000).step_by(2)));
    let tagged = Filter::new().with_tag("order", "99999");
    assert_eq!(store.list(tagged, Page::first(100)).await.unwrap().len(), 1);
    assert_eq!(claim(&store, 1).await[0].letter.id, ids[10_000]);

    // Pushes go on during a purge.
    let purge = tokio::spawn({
        let store = store.clone();
        async move { store.purge(Duration::ZERO).await.unwrap() }
    });
    let mut pushed_meanwhile = 0;
    while !purge.is_finished() {
        store.push(letter(LETTERS)).await.unwrap();
        pushed_meanwhile += 1;
    }
    assert_eq!(purge.await.unwrap(), 5_000);
    assert!(pushed_meanwhile > 3, "{pushed_meanwhile}");
    assert_eq!(
        store.stats().await.unwrap().total(),
        95_000 + pushed_meanwhile
    );
}
