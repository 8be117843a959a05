//! An encrypted store keeps the promises of every store, and hides bodies from a reader without the
//! key.
#![cfg(feature = "encryption")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use courteous_core::{NoRandomBytes, test_util};
use courteous_dead_letter::{
    Claim, Encrypted, EncryptionKey, Filter, Letter, LetterStore, MemoryStore, Page, Payload,
    Reason, Sink, StoreError, conformance, conformance::letter,
};
use http::Method;

const HOUR: Duration = Duration::from_secs(3600);

fn key(byte: u8) -> EncryptionKey {
    EncryptionKey::new([byte; 32])
}

conformance!(mod encrypted {
    async |clock| {
        let store = MemoryStore::new().with_clock(clock);
        (Arc::new(Encrypted::new(store, key(1))) as Arc<dyn LetterStore>, ())
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
    let claimed = second
        .claim(Claim::new(9, Duration::ZERO))
        .await
        .unwrap()
        .records;
    assert_eq!(body(claimed[0].clone()), plain.letter.payload);

    // A new key, with the old one still available.
    let both = second.with_old_key(key(1));
    assert_eq!(body(both.get(id).await.unwrap().unwrap()), whole);
    let claimed = both.claim(Claim::new(9, HOUR)).await.unwrap().records;
    assert_eq!(body(claimed[0].clone()), whole);
    assert!(!format!("{both:?}").contains("1, 1"));
}

/// Pushes a letter, and then its sealed body under the same id with the change that `change` made
/// to the letter. Returns how the body is read there, and what a redrive gets.
async fn moved(change: impl FnOnce(&mut Letter)) -> (Result<Payload, StoreError>, Payload) {
    let clock = conformance::clock();
    let mut letter = letter(&clock, HOUR, Reason::Attempts);
    letter.uri = "https://api.test:8443/refunds?of=7".parse().unwrap();
    letter.payload = Payload::Whole(Bytes::from_static(b"amount=100"));
    let [from, to] = [(); 2].map(|()| MemoryStore::new().with_clock(clock.clone()));
    let first = Encrypted::new(from.clone(), key(1));
    first.push(letter.clone()).await.unwrap();
    letter.payload = from.get(letter.id).await.unwrap().unwrap().letter.payload;
    change(&mut letter);
    let id = letter.id;
    to.push(letter).await.unwrap();
    let second = Encrypted::new(to, key(1));
    let read = second.get(id).await;
    let mut claimed = second.claim(Claim::new(9, HOUR)).await.unwrap().records;
    let read = read.map(|record| record.unwrap().letter.payload);
    (read, claimed.remove(0).letter.payload)
}

#[tokio::test]
async fn a_body_is_not_read_under_another_method_or_target() {
    let whole = Payload::Whole(Bytes::from_static(b"amount=100"));
    let (read, claimed) = moved(|letter| letter.tags = Default::default()).await;
    assert_eq!((read.unwrap(), claimed), (whole.clone(), whole));

    let refused = |(read, claimed): (Result<Payload, StoreError>, Payload)| {
        assert!(matches!(read, Err(StoreError::WrongKey)), "{read:?}");
        assert!(matches!(claimed, Payload::Sealed(_)), "{claimed:?}");
        let told = read.unwrap_err().to_string();
        assert!(told.ends_with("or is of another letter, method or target"));
    };
    refused(moved(|letter| letter.method = Method::PUT).await);
    for uri in [
        "https://evil.test:8443/refunds?of=7",
        "http://api.test:8443/refunds?of=7",
        "https://api.test/refunds?of=7",
        "https://api.test:8443/charges?of=7",
        "https://api.test:8443/refunds?of=8",
        "https://api.test:8443/refunds",
        "/refunds?of=7",
    ] {
        refused(moved(|letter| letter.uri = uri.parse().unwrap()).await);
    }
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
