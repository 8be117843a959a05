//! An encrypted store keeps what every store promises, and shows nobody a body who has not the key.
#![cfg(feature = "encryption")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod conformance;

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use courteous_core::{NoRandomBytes, test_util};
use courteous_dead_letter::{
    Claim, Encrypted, EncryptionKey, Filter, MemoryStore, Page, Payload, Reason, Sink, Store,
    StoreError,
};

use conformance::{conformance, letter};

const HOUR: Duration = Duration::from_secs(3600);

fn key(byte: u8) -> EncryptionKey {
    EncryptionKey::new([byte; 32])
}

conformance!(mod encrypted {
    async |clock| {
        let store = MemoryStore::new().with_clock(clock);
        (Arc::new(Encrypted::new(store, key(1))) as Arc<dyn Store>, ())
    }
});

#[tokio::test]
async fn a_body_is_read_with_its_key_and_stays_sealed_with_another() {
    let clock = conformance::clock();
    let store = MemoryStore::new().with_clock(clock.clone());
    let first = Encrypted::new(store.clone(), key(1));
    let mut letter = letter(&clock, HOUR, Reason::Attempts);
    let whole = Payload::Whole(Bytes::from_static(b"card=4242"));
    letter.payload = whole.clone();
    let id = letter.id;
    first.push(letter).await.unwrap();

    let body = |record: courteous_dead_letter::Record| record.letter.payload;
    let plain = store.get(id).await.unwrap().unwrap();
    assert!(
        !plain
            .letter
            .payload
            .bytes()
            .windows(4)
            .any(|bytes| bytes == b"4242")
    );
    assert_eq!(body(first.get(id).await.unwrap().unwrap()), whole);

    let second = Encrypted::new(store.clone(), key(2));
    let read = second.get(id).await;
    assert!(matches!(read, Err(StoreError::WrongKey)), "{read:?}");
    let listed = second.list(Filter::new(), Page::first(9)).await.unwrap();
    assert_eq!(body(listed[0].clone()), plain.letter.payload);
    let claimed = second.claim(Claim::new(9, Duration::ZERO)).await.unwrap();
    assert_eq!(body(claimed[0].clone()), plain.letter.payload);

    // A new key, with the old one at hand.
    let both = second.with_old_key(key(1));
    assert_eq!(body(both.get(id).await.unwrap().unwrap()), whole);
    let claimed = both.claim(Claim::new(9, HOUR)).await.unwrap();
    assert_eq!(body(claimed[0].clone()), whole);
    assert!(!format!("{both:?}").contains("1, 1"));
}

#[tokio::test]
async fn without_a_nonce_nothing_is_written() {
    let clock = conformance::clock();
    let store = MemoryStore::new().with_clock(clock.clone());
    let encrypted = Encrypted::new(store.clone(), key(1));
    let letter = letter(&clock, HOUR, Reason::Attempts);
    let push = test_util::without_random_bytes(|| encrypted.push(letter.clone()));
    let error = push.await.unwrap_err();
    let cause = error.source().unwrap();
    assert!(cause.is::<NoRandomBytes>(), "{cause}");
    assert_eq!(store.stats().await.unwrap().total(), 0);
}

#[tokio::test]
async fn what_was_written_without_a_key_is_read_as_it_is() {
    let clock = conformance::clock();
    let store = MemoryStore::new().with_clock(clock.clone());
    let letter = letter(&clock, HOUR, Reason::Attempts);
    let id = letter.id;
    store.push(letter.clone()).await.unwrap();
    let encrypted = Encrypted::new(store, key(1));
    let record = encrypted.get(id).await.unwrap().unwrap();
    assert_eq!(record.letter, letter);
}
