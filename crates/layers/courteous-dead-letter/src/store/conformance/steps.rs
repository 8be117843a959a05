//! What all promises are checked with.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use http::{Method, Uri};

use crate::{
    Claim, Clock, Failure, Filter, Letter, LetterId, LetterStore, Page, Reason, Record, State,
};

/// Any store.
pub type Any = Arc<dyn LetterStore>;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A clock fixed at the current time, at a whole microsecond, which is what stores can hold.
#[must_use]
pub fn clock() -> Clock {
    let since = Clock::system().now().duration_since(UNIX_EPOCH).unwrap();
    Clock::fixed(UNIX_EPOCH + Duration::from_micros(since.as_micros() as u64))
}

/// A letter that failed for `reason`, recorded `age` ago.
#[must_use]
pub fn letter(clock: &Clock, age: Duration, reason: Reason) -> Letter {
    let then = clock.now() - age;
    let uri = Uri::from_static("https://api.example.com/charges?order=42");
    Letter::new(
        LetterId::new(then).unwrap(),
        Method::POST,
        uri,
        Failure::new(reason, then),
    )
}

/// Pushes this many letters, each an hour younger than the previous one. Returns their ids, oldest
/// first.
pub(super) async fn push(store: &Any, clock: &Clock, letters: u32) -> Vec<LetterId> {
    let mut ids = Vec::new();
    for age in (1..=letters).rev() {
        let letter = letter(clock, age * HOUR, Reason::Attempts);
        ids.push(letter.id);
        store.push(letter).await.unwrap();
    }
    ids
}

pub(super) fn ids(records: &[Record]) -> Vec<LetterId> {
    records.iter().map(|record| record.letter.id).collect()
}

pub(super) fn fence(record: &Record) -> u64 {
    match record.state {
        State::Claimed { fence, .. } => fence,
        state => panic!("not claimed: {state:?}"),
    }
}

pub(super) async fn claim(store: &Any, max: u32) -> Vec<Record> {
    store.claim(Claim::new(max, HOUR)).await.unwrap().records
}

pub(super) async fn claim_one(store: &Any) -> Record {
    claim(store, 1).await.pop().expect("one to be claimed")
}

pub(super) async fn get(store: &Any, id: LetterId) -> Record {
    store.get(id).await.unwrap().expect("a record")
}

pub(super) async fn list(store: &Any, filter: Filter) -> Vec<LetterId> {
    ids(&store.list(filter, Page::first(100)).await.unwrap())
}
