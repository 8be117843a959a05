//! What every store promises, as test functions for any [`LetterStore`], for the tests of a store
//! of your own (feature `test-util`).
//!
//! The macro of the same name makes a `#[tokio::test]` of each function. The crate that uses it
//! needs Tokio with the features `macros`, `rt-multi-thread` and `time`:
//!
//! ```
//! use std::sync::Arc;
//!
//! use courteous_dead_letter::{Clock, MemoryStore, LetterStore, conformance};
//!
//! conformance!(mod memory {
//!     async |clock: Clock| (Arc::new(MemoryStore::new().with_clock(clock)) as Arc<dyn LetterStore>, ())
//! });
//! # fn main() {}
//! ```
//!
//! The block is an async closure. It gets the [`Clock`] that the store must use. It returns the
//! store, and a value that is kept while the store is used, such as a temporary directory. The
//! clock is fixed at the system's time, and moves only by hours, so that a store that uses a
//! database's clock also passes.
//!
//! # Panics
//!
//! Each function panics if the store breaks its promise.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test panics, and its name says what it tests"
)]

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use courteous_core::{Dice, Effect, Fault, Verdict};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header::AUTHORIZATION};

use crate::{
    Claim, Clock, Failure, Filter, Letter, LetterId, LetterStore, Mark, MemoryStore, Page,
    PastAttempt, Payload, PushError, Reason, Record, Settlement, State, StateKind, StoreError,
    Tags,
};

/// One `#[tokio::test]` for each promise of a [`LetterStore`](crate::LetterStore): see the [module](mod@crate::conformance).
#[macro_export]
macro_rules! conformance {
    (mod $name:ident { $make:expr }) => {
        $crate::conformance! { mod $name { $make }
            a_letter_is_read_back_as_it_was
            a_letter_whose_key_cannot_be_used_again_is_expired_from_the_beginning
            a_sealed_body_is_kept_as_it_is
            a_letter_is_kept_once
            dropping_the_future_of_a_push_takes_nothing_back
            many_letters_pushed_at_once_are_all_kept
            a_flush_waits_for_letters_whose_futures_were_dropped
            the_oldest_are_claimed_first
            a_claim_of_none_claims_none
            what_is_claimed_is_not_claimed_again_until_its_lease_ends
            claimers_at_once_never_share_a_record
            not_before_is_waited_for
            a_claim_can_be_narrowed
            only_the_newest_fence_settles
            a_late_settlement_counts_if_nobody_has_claimed_since
            what_is_settled_has_its_state_and_is_not_claimed
            a_failed_redrive_is_pending_with_its_failure
            what_was_not_sent_counts_no_redrive
            a_list_is_filtered_and_paged_oldest_first
            stats_count_by_reason_and_state
            a_mark_changes_the_state_by_hand
            a_mark_as_pending_forgets_what_was_to_be_waited_for
            a_mark_makes_an_older_fence_stale
            what_is_claimed_cannot_be_marked
            a_purge_removes_what_was_settled_long_ago_and_nothing_else
            what_is_not_there_is_not_found
            it_does_the_same_as_the_store_in_memory
        }
    };
    (mod $name:ident { $make:expr } $($promise:ident)+) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let clock = $crate::conformance::clock();
                    let (store, _guard) = ($make)(clock.clone()).await;
                    $crate::conformance::$promise(&store, &clock).await;
                }
            )+
        }
    };
}

/// Any store.
pub type Any = Arc<dyn LetterStore>;

const HOUR: Duration = Duration::from_secs(3600);

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
async fn push(store: &Any, clock: &Clock, letters: u32) -> Vec<LetterId> {
    let mut ids = Vec::new();
    for age in (1..=letters).rev() {
        let letter = letter(clock, age * HOUR, Reason::Attempts);
        ids.push(letter.id);
        store.push(letter).await.unwrap();
    }
    ids
}

fn ids(records: &[Record]) -> Vec<LetterId> {
    records.iter().map(|record| record.letter.id).collect()
}

fn fence(record: &Record) -> u64 {
    match record.state {
        State::Claimed { fence, .. } => fence,
        state => panic!("not claimed: {state:?}"),
    }
}

async fn claim(store: &Any, max: u32) -> Vec<Record> {
    store.claim(Claim::new(max, HOUR)).await.unwrap().records
}

async fn claim_one(store: &Any) -> Record {
    claim(store, 1).await.pop().expect("one to be claimed")
}

async fn get(store: &Any, id: LetterId) -> Record {
    store.get(id).await.unwrap().expect("a record")
}

async fn list(store: &Any, filter: Filter) -> Vec<LetterId> {
    ids(&store.list(filter, Page::first(100)).await.unwrap())
}

pub async fn a_letter_is_read_back_as_it_was(store: &Any, clock: &Clock) {
    let micro = Duration::from_micros(1);
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000) + micro;
    let name = HeaderName::from_static("idempotency-key");
    let past = |number, verdict, status| {
        let status = Option::map(status, |status| StatusCode::from_u16(status).unwrap());
        PastAttempt::new(number, now - HOUR, verdict, status)
    };
    let effects = [
        Effect::NeverSent,
        Effect::Refused,
        Effect::MaybeProcessed,
        Effect::InProgress,
    ];
    let faults = [
        Fault::NoResponse,
        Fault::Server,
        Fault::Overload,
        Fault::Throttled,
    ];
    let mut letters = Vec::new();
    for payload in [
        Payload::Whole(Bytes::new()),
        Payload::Whole((0..=255).collect()),
        Payload::Truncated(Bytes::from_static(b"beginning")),
        Payload::Gone,
    ] {
        let mut letter = letter(clock, HOUR, Reason::WaitTooLong);
        letter.uri = "https://api.example.com:8443/a%20b?q=%27;--&token=withheld"
            .parse()
            .unwrap();
        letter.payload = payload;
        let headers = &mut letter.headers;
        headers.append(
            "x-bytes",
            HeaderValue::from_bytes(b"\xff\xfe\t'\"\\").unwrap(),
        );
        headers.append("x-utf8", HeaderValue::from_bytes("ü€".as_bytes()).unwrap());
        headers.append("x-many", HeaderValue::from_static("2"));
        headers.append("x-many", HeaderValue::from_static("1"));
        headers.append("x-empty", HeaderValue::from_static(""));
        headers.append(&name, HeaderValue::from_static("\"8e03978e\""));
        letter.key_header = Some(name.clone());
        letter.withheld.headers.push(AUTHORIZATION);
        letter.withheld.query.push("token".to_owned());
        letter.withheld.userinfo = true;
        letter.idempotent = Some(letter.payload == Payload::Gone);
        letter.tags = Tags::new()
            .with("order", "42")
            .with("quote\"'\\", "'; DROP TABLE letters; --\n€");
        letter.first_at = now - 2 * HOUR;
        let failure = &mut letter.failure;
        failure.attempts = u32::MAX;
        failure.history = vec![past(1, Verdict::Answered, Some(404))];
        failure.history.push(past(2, Verdict::Permanent, None));
        for effect in effects {
            failure.history.push(past(
                3,
                Verdict::transient(effect, Fault::Server),
                Some(503),
            ));
        }
        for fault in faults {
            failure.history.push(past(
                u32::MAX,
                Verdict::transient(Effect::Refused, fault),
                None,
            ));
        }
        failure.maybe_sent = false;
        failure.last_status = Some(StatusCode::TOO_MANY_REQUESTS);
        failure.last_error = Some("zwölf 'Boxkämpfer'".to_owned());
        failure.last_at = now;
        failure.not_before = Some(now + micro);
        letters.push(letter);
    }
    for (processed, since) in [
        (false, None),
        (true, Some(now - HOUR + micro)),
        (true, None),
    ] {
        let mut letter = letter(clock, HOUR, Reason::Attempts);
        letter.failure.maybe_processed = processed;
        letter.failure.maybe_processed_since = since;
        letters.push(letter);
    }
    // Also a letter with nothing in it.
    letters.push(letter(clock, HOUR, Reason::Abandoned));
    letters.last_mut().unwrap().failure.last_at = now;
    letters.last_mut().unwrap().first_at = now;
    for letter in letters {
        store.push(letter.clone()).await.unwrap();
        let record = get(store, letter.id).await;
        assert_eq!(record.letter, letter);
        assert_eq!((record.state, record.redrives), (State::Pending, 0));
    }
}

pub async fn a_letter_whose_key_cannot_be_used_again_is_expired_from_the_beginning(
    store: &Any,
    clock: &Clock,
) {
    for reason in [Reason::KeyRunsOut, Reason::KeyReused] {
        let mut letter = letter(clock, HOUR, reason);
        letter.failure.not_before = Some(clock.now() + 100 * HOUR);
        store.push(letter.clone()).await.unwrap();
        let record = get(store, letter.id).await;
        assert_eq!((record.state, record.redrives), (State::Expired, 0));
        assert_eq!(record.letter, letter);
        // It is made pending by hand.
        store.mark(letter.id, Mark::Pending).await.unwrap();
        let claimed = claim(store, 9).await;
        let ids: Vec<_> = claimed.iter().map(|record| record.letter.id).collect();
        assert_eq!(ids, [letter.id]);
    }
}

pub async fn a_sealed_body_is_kept_as_it_is(store: &Any, clock: &Clock) {
    let mut letter = letter(clock, HOUR, Reason::Attempts);
    letter.payload = Payload::Sealed(Bytes::from_static(b"\0cipher"));
    store.push(letter.clone()).await.unwrap();
    let listed = store.list(Filter::new(), Page::first(1)).await.unwrap();
    assert_eq!(listed[0].letter, letter);
}

pub async fn a_letter_is_kept_once(store: &Any, clock: &Clock) {
    let first = letter(clock, HOUR, Reason::Attempts);
    store.push(first.clone()).await.unwrap();
    let mut second = first.clone();
    second.failure.reason = Reason::Budget;
    store.push(second).await.unwrap();
    assert_eq!(get(store, first.id).await.letter, first);
    assert_eq!(store.stats().await.unwrap().total(), 1);
}

pub async fn dropping_the_future_of_a_push_takes_nothing_back(store: &Any, clock: &Clock) {
    let letter = letter(clock, HOUR, Reason::Attempts);
    let id = letter.id;
    drop(store.push(letter));
    for _ in 0..1000 {
        if store.get(id).await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the letter is lost");
}

pub async fn many_letters_pushed_at_once_are_all_kept(store: &Any, clock: &Clock) {
    let letters: Vec<_> = (0..200)
        .map(|_| letter(clock, HOUR, Reason::Attempts))
        .collect();
    let mut expected: Vec<_> = letters.iter().map(|letter| letter.id).collect();
    expected.sort();
    let tasks: Vec<_> = letters
        .into_iter()
        .map(|letter| tokio::spawn(store.push(letter)))
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let all = store.list(Filter::new(), Page::first(1000)).await.unwrap();
    assert_eq!(ids(&all), expected);
}

pub async fn a_flush_waits_for_letters_whose_futures_were_dropped(store: &Any, clock: &Clock) {
    store.flush().await;
    let letters = (0..50).map(|_| letter(clock, HOUR, Reason::Abandoned));
    let pushed: Vec<_> = letters
        .map(|letter| (letter.id, store.push(letter)))
        .collect();
    let ids: Vec<_> = pushed.iter().map(|(id, _)| *id).collect();
    drop(pushed);
    store.flush().await;
    for id in ids {
        assert!(store.get(id).await.unwrap().is_some());
    }
}

pub async fn the_oldest_are_claimed_first(store: &Any, clock: &Clock) {
    let mut pushed = push(store, clock, 3).await;
    // The last letter to arrive is the oldest.
    let oldest = letter(clock, 9 * HOUR, Reason::Attempts);
    pushed.insert(0, oldest.id);
    store.push(oldest).await.unwrap();
    let before = clock.now();
    let first = claim(store, 3).await;
    assert_eq!(ids(&first), pushed[..3]);
    for record in &first {
        assert!(matches!(record.state, State::Claimed { fence: 1, until } if until > before));
        assert_eq!(*record, get(store, record.letter.id).await);
    }
    assert_eq!(ids(&claim(store, 3).await), pushed[3..]);
    assert!(claim(store, 3).await.is_empty());
}

pub async fn a_claim_of_none_claims_none(store: &Any, clock: &Clock) {
    let pushed = push(store, clock, 1).await;
    assert!(claim(store, 0).await.is_empty());
    assert_eq!(get(store, pushed[0]).await.state, State::Pending);
}

pub async fn what_is_claimed_is_not_claimed_again_until_its_lease_ends(store: &Any, clock: &Clock) {
    let pushed = push(store, clock, 1).await;
    let first = claim_one(store).await;
    assert!(claim(store, 1).await.is_empty());
    clock.advance(2 * HOUR);
    let second = claim_one(store).await;
    assert_eq!(second.letter.id, pushed[0]);
    assert!(fence(&second) > fence(&first));
    assert_eq!(second.redrives, 0);
}

pub async fn claimers_at_once_never_share_a_record(store: &Any, clock: &Clock) {
    let pushed = push(store, clock, 60).await;
    let claimers = (0..6).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut own = Vec::new();
            loop {
                let records = claim(&store, 4).await;
                if records.is_empty() {
                    return own;
                }
                own.extend(ids(&records));
            }
        })
    });
    let mut claimed = Vec::new();
    for claimer in claimers.collect::<Vec<_>>() {
        claimed.extend(claimer.await.unwrap());
    }
    // A claim that finds the rest locked by another claim may stop early, and leave some records.
    claimed.extend(ids(&claim(store, 60).await));
    claimed.sort();
    assert_eq!(claimed, pushed);
}

pub async fn not_before_is_waited_for(store: &Any, clock: &Clock) {
    let mut later = letter(clock, 2 * HOUR, Reason::WaitTooLong);
    later.failure.not_before = Some(clock.now() + HOUR);
    let mut over = letter(clock, HOUR, Reason::WaitTooLong);
    over.failure.not_before = Some(clock.now() - HOUR);
    let (later_id, over_id) = (later.id, over.id);
    store.push(later).await.unwrap();
    store.push(over).await.unwrap();
    assert_eq!(ids(&claim(store, 2).await), [over_id]);
    clock.advance(2 * HOUR);
    let claimed = claim(store, 1).await;
    assert_eq!(ids(&claimed), [later_id]);
}

pub async fn a_claim_can_be_narrowed(store: &Any, clock: &Clock) {
    let mut pushed = push(store, clock, 4).await;
    let mut tagged = letter(clock, HOUR / 2, Reason::Budget);
    tagged.tags = Tags::new().with("o'rder", "4\"2").with("shop", "berlin");
    pushed.push(tagged.id);
    store.push(tagged).await.unwrap();
    let narrowed = |narrow: fn(&mut Claim, &[LetterId])| {
        let mut claim = Claim::new(9, HOUR);
        narrow(&mut claim, &pushed);
        async move { ids(&store.claim(claim).await.unwrap().records) }
    };
    let none = narrowed(|claim, _| claim.filter = Filter::new().with_tag("o'rder", "42")).await;
    assert!(none.is_empty());
    let none = narrowed(|claim, _| claim.filter = Filter::new().with_reason(Reason::Vetoed)).await;
    assert!(none.is_empty());
    let by_tag = narrowed(|claim, _| claim.filter = Filter::new().with_tag("o'rder", "4\"2"));
    assert_eq!(by_tag.await, pushed[4..]);
    assert_eq!(
        narrowed(|claim, ids| claim.id = Some(ids[1])).await,
        pushed[1..2]
    );
    assert_eq!(
        narrowed(|claim, ids| claim.after = Some(ids[2])).await,
        pushed[3..4]
    );
    let before = |claim: &mut Claim, ids: &[LetterId]| {
        claim.filter = Filter::new().with_before(ids[2].recorded_at());
    };
    assert_eq!(narrowed(before).await, pushed[..1]);
    // The filter's state has no effect here.
    let rest = narrowed(|claim, _| claim.filter = Filter::new().with_state(StateKind::Expired));
    assert_eq!(rest.await, pushed[2..3]);
}

pub async fn only_the_newest_fence_settles(store: &Any, clock: &Clock) {
    let id = push(store, clock, 1).await[0];
    let first = claim_one(store).await;
    clock.advance(2 * HOUR);
    let second = claim_one(store).await;
    let status = StatusCode::OK;
    for fence in [fence(&first), fence(&second) + 1] {
        let settled = store
            .settle(id, fence, Settlement::Delivered { status })
            .await;
        assert!(
            matches!(settled, Err(StoreError::StaleFence)),
            "{settled:?}"
        );
    }
    assert_eq!(get(store, id).await, second);
    let refused = Settlement::Refused {
        status: StatusCode::CONFLICT,
    };
    store.settle(id, fence(&second), refused).await.unwrap();
    // A record can be settled only once.
    let settled = store
        .settle(id, fence(&second), Settlement::Delivered { status })
        .await;
    assert!(
        matches!(settled, Err(StoreError::StaleFence)),
        "{settled:?}"
    );
    let status = StatusCode::CONFLICT;
    assert_eq!(get(store, id).await.state, State::Refused { status });
}

pub async fn a_late_settlement_counts_if_nobody_has_claimed_since(store: &Any, clock: &Clock) {
    let id = push(store, clock, 1).await[0];
    let record = claim_one(store).await;
    clock.advance(2 * HOUR);
    let status = StatusCode::CREATED;
    let delivered = Settlement::Delivered { status };
    store.settle(id, fence(&record), delivered).await.unwrap();
    assert_eq!(get(store, id).await.state, State::Delivered { status });
}

pub async fn what_is_settled_has_its_state_and_is_not_claimed(store: &Any, clock: &Clock) {
    push(store, clock, 4).await;
    let claimed = claim(store, 4).await;
    let status = StatusCode::NO_CONTENT;
    let mut failure = claimed[3].letter.failure.clone();
    failure.attempts = 7;
    let outcomes = [
        (
            Settlement::Delivered { status },
            State::Delivered { status },
            1,
        ),
        (Settlement::Refused { status }, State::Refused { status }, 1),
        (Settlement::Expired, State::Expired, 0),
        (Settlement::Exhausted(failure.clone()), State::Expired, 1),
    ];
    for (before, (outcome, state, redrives)) in claimed.iter().zip(outcomes) {
        let id = before.letter.id;
        store.settle(id, fence(before), outcome).await.unwrap();
        let after = get(store, id).await;
        assert_eq!((after.state, after.redrives), (state, redrives));
        assert!(after.changed_at >= before.changed_at);
    }
    assert_eq!(
        get(store, claimed[0].letter.id).await.letter,
        claimed[0].letter
    );
    assert_eq!(
        get(store, claimed[3].letter.id).await.letter.failure,
        failure
    );
    clock.advance(2 * HOUR);
    assert!(claim(store, 4).await.is_empty());
}

pub async fn a_failed_redrive_is_pending_with_its_failure(store: &Any, clock: &Clock) {
    let id = push(store, clock, 1).await[0];
    for redrives in 1..=3 {
        let record = claim_one(store).await;
        assert_eq!(u64::from(redrives), fence(&record));
        let mut failure = record.letter.failure.clone();
        failure.reason = Reason::Deadline;
        failure.attempts += 3;
        failure.maybe_sent = false;
        failure.last_error = None;
        failure.last_status = Some(StatusCode::BAD_GATEWAY);
        failure.history.push(PastAttempt::new(
            redrives,
            failure.last_at,
            Verdict::Permanent,
            None,
        ));
        failure.not_before = Some(failure.last_at + HOUR / 2);
        let failed = Settlement::Failed(failure.clone());
        store.settle(id, fence(&record), failed).await.unwrap();
        let after = get(store, id).await;
        assert_eq!((after.state, after.redrives), (State::Pending, redrives));
        let mut expected = record.letter;
        expected.failure = failure;
        assert_eq!(after.letter, expected);
    }
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.counts[0].reason, Reason::Deadline);
}

pub async fn what_was_not_sent_counts_no_redrive(store: &Any, clock: &Clock) {
    let id = push(store, clock, 1).await[0];
    let before = get(store, id).await;
    let record = claim_one(store).await;
    store
        .settle(id, fence(&record), Settlement::Released)
        .await
        .unwrap();
    let after = get(store, id).await;
    assert_eq!((after.state, after.redrives), (State::Pending, 0));
    assert_eq!(after.letter, before.letter);
    assert!(fence(&claim_one(store).await) > fence(&record));
}

pub async fn a_list_is_filtered_and_paged_oldest_first(store: &Any, clock: &Clock) {
    let mut pushed = push(store, clock, 4).await;
    let mut tagged = letter(clock, HOUR / 2, Reason::Budget);
    tagged.tags = Tags::new().with("order", "42");
    pushed.push(tagged.id);
    store.push(tagged).await.unwrap();
    store.mark(pushed[1], Mark::Discarded).await.unwrap();

    assert_eq!(list(store, Filter::new()).await, pushed);
    assert_eq!(
        list(store, Filter::new().with_state(StateKind::Discarded)).await,
        pushed[1..2]
    );
    assert_eq!(
        list(store, Filter::new().with_reason(Reason::Budget)).await,
        pushed[4..]
    );
    assert_eq!(
        list(store, Filter::new().with_tag("order", "42")).await,
        pushed[4..]
    );
    assert!(
        list(store, Filter::new().with_tag("order", "4"))
            .await
            .is_empty()
    );
    let before = Filter::new().with_before(pushed[2].recorded_at());
    assert_eq!(list(store, before.clone()).await, pushed[..2]);
    let both = before.with_state(StateKind::Pending);
    assert_eq!(list(store, both).await, pushed[..1]);

    let page = async |page| ids(&store.list(Filter::new(), page).await.unwrap());
    assert_eq!(page(Page::first(2)).await, pushed[..2]);
    assert_eq!(page(Page::after(pushed[1], 2)).await, pushed[2..4]);
    assert_eq!(page(Page::after(pushed[3], 2)).await, pushed[4..]);
    assert!(page(Page::after(pushed[4], 2)).await.is_empty());
    assert!(page(Page::first(0)).await.is_empty());
}

pub async fn stats_count_by_reason_and_state(store: &Any, clock: &Clock) {
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.total(), stats.oldest_age), (0, None));
    let pushed = push(store, clock, 4).await;
    store
        .push(letter(clock, HOUR / 2, Reason::Deadline))
        .await
        .unwrap();
    store.mark(pushed[0], Mark::Discarded).await.unwrap();
    claim(store, 1).await;
    let stats = store.stats().await.unwrap();
    let counts: Vec<_> = stats
        .counts
        .iter()
        .map(|count| (count.reason, count.state, count.count))
        .collect();
    let expected = [
        (Reason::Attempts, StateKind::Pending, 2),
        (Reason::Attempts, StateKind::Claimed, 1),
        (Reason::Attempts, StateKind::Discarded, 1),
        (Reason::Deadline, StateKind::Pending, 1),
    ];
    assert_eq!(counts, expected);
    assert_eq!((stats.total(), stats.undelivered()), (5, 4));
    // The oldest record is claimed; its age is counted from when it was recorded.
    let age = stats.oldest_age.unwrap();
    assert!(age >= 3 * HOUR && age < 4 * HOUR, "{age:?}");
    clock.advance(HOUR);
    assert!(store.stats().await.unwrap().oldest_age.unwrap() >= 4 * HOUR);
}

pub async fn a_mark_changes_the_state_by_hand(store: &Any, clock: &Clock) {
    let id = push(store, clock, 1).await[0];
    let record = claim_one(store).await;
    let failed = Settlement::Exhausted(record.letter.failure.clone());
    store.settle(id, fence(&record), failed).await.unwrap();
    let marked = async |mark| {
        store.mark(id, mark).await.unwrap();
        let record = get(store, id).await;
        (record.state, record.redrives)
    };
    assert_eq!(marked(Mark::Expired).await, (State::Expired, 1));
    assert_eq!(marked(Mark::Discarded).await, (State::Discarded, 1));
    assert!(claim(store, 1).await.is_empty());
    assert_eq!(marked(Mark::Pending).await, (State::Pending, 0));
    assert!(fence(&claim_one(store).await) > fence(&record));
}

pub async fn a_mark_as_pending_forgets_what_was_to_be_waited_for(store: &Any, clock: &Clock) {
    let year = 365 * 24 * HOUR;
    let mut later = letter(clock, HOUR, Reason::WaitTooLong);
    later.failure.not_before = Some(clock.now() + year);
    let id = later.id;
    store.push(later).await.unwrap();
    assert!(claim(store, 1).await.is_empty());
    // The record is already pending, but must not be sent yet.
    store.mark(id, Mark::Pending).await.unwrap();
    let record = get(store, id).await;
    assert_eq!(record.letter.failure.not_before, None);

    // The same holds for a settled record.
    let claimed = claim_one(store).await;
    let mut failure = claimed.letter.failure.clone();
    failure.not_before = Some(clock.now() + year);
    for settlement in [
        Settlement::Exhausted(failure.clone()),
        Settlement::Failed(failure.clone()),
    ] {
        let claimed = match get(store, id).await {
            record if record.state.kind() == StateKind::Claimed => record,
            _ => claim_one(store).await,
        };
        store.settle(id, fence(&claimed), settlement).await.unwrap();
        assert_eq!(get(store, id).await.redrives, 1);
        // Other marks leave it alone.
        store.mark(id, Mark::Discarded).await.unwrap();
        let not_before = get(store, id).await.letter.failure.not_before;
        assert_eq!(not_before, failure.not_before);
        store.mark(id, Mark::Pending).await.unwrap();
        let record = get(store, id).await;
        assert_eq!((record.state, record.redrives), (State::Pending, 0));
        assert_eq!(record.letter.failure.not_before, None);
    }

    // A record that is due keeps counting its redrives.
    let claimed = claim_one(store).await;
    failure.not_before = None;
    let failed = Settlement::Failed(failure);
    store.settle(id, fence(&claimed), failed).await.unwrap();
    store.mark(id, Mark::Pending).await.unwrap();
    assert_eq!(get(store, id).await.redrives, 1);
}

pub async fn a_mark_makes_an_older_fence_stale(store: &Any, clock: &Clock) {
    let id = push(store, clock, 1).await[0];
    let record = claim_one(store).await;
    clock.advance(2 * HOUR);
    store.mark(id, Mark::Discarded).await.unwrap();
    let status = StatusCode::OK;
    let settled = store
        .settle(id, fence(&record), Settlement::Delivered { status })
        .await;
    assert!(
        matches!(settled, Err(StoreError::StaleFence)),
        "{settled:?}"
    );
    assert_eq!(get(store, id).await.state, State::Discarded);
}

pub async fn what_is_claimed_cannot_be_marked(store: &Any, clock: &Clock) {
    let id = push(store, clock, 1).await[0];
    let record = claim_one(store).await;
    for mark in [Mark::Pending, Mark::Discarded, Mark::Expired] {
        let marked = store.mark(id, mark).await;
        assert!(
            matches!(marked, Err(StoreError::Claimed { .. })),
            "{marked:?}"
        );
    }
    assert_eq!(get(store, id).await, record);
    clock.advance(2 * HOUR);
    store.mark(id, Mark::Pending).await.unwrap();
    assert_eq!(get(store, id).await.state, State::Pending);
}

pub async fn a_purge_removes_what_was_settled_long_ago_and_nothing_else(
    store: &Any,
    clock: &Clock,
) {
    let pushed = push(store, clock, 6).await;
    let status = StatusCode::OK;
    let claimed = claim(store, 4).await;
    for (record, outcome) in claimed.iter().zip([
        Settlement::Delivered { status },
        Settlement::Refused { status },
        Settlement::Expired,
    ]) {
        store
            .settle(record.letter.id, fence(record), outcome)
            .await
            .unwrap();
    }
    assert_eq!(store.purge(HOUR).await.unwrap(), 0);
    clock.advance(10 * HOUR);
    store.mark(pushed[4], Mark::Discarded).await.unwrap();
    // The fourth is claimed, the fifth was settled just now, the sixth is pending.
    assert_eq!(store.purge(5 * HOUR).await.unwrap(), 3);
    assert_eq!(list(store, Filter::new()).await, pushed[3..]);
    clock.advance(10 * HOUR);
    assert_eq!(store.purge(Duration::MAX).await.unwrap(), 0);
    assert_eq!(store.purge(5 * HOUR).await.unwrap(), 1);
    assert_eq!(list(store, Filter::new()).await, [pushed[3], pushed[5]]);
}

pub async fn what_is_not_there_is_not_found(store: &Any, clock: &Clock) {
    let id = LetterId::new(clock.now()).unwrap();
    assert_eq!(store.get(id).await.unwrap(), None);
    let marked = store.mark(id, Mark::Discarded).await;
    assert!(matches!(marked, Err(StoreError::NotFound)), "{marked:?}");
    let settled = store.settle(id, 1, Settlement::Expired).await;
    assert!(matches!(settled, Err(StoreError::NotFound)), "{settled:?}");
    let mut claim = Claim::new(1, HOUR);
    claim.id = Some(id);
    assert!(store.claim(claim).await.unwrap().records.is_empty());
}

/// Takes the same random steps on this store and on the one in memory, whose promises are each a
/// line of plain code. Both must give the same results.
pub async fn it_does_the_same_as_the_store_in_memory(store: &Any, clock: &Clock) {
    let model: Any = Arc::new(MemoryStore::new().with_clock(clock.clone()));
    let dice = &Dice::seeded(42);
    // No two times are ever equal, so that a store whose clock keeps running gives the same
    // results.
    let quarter = HOUR / 4;
    let mut ids = Vec::new();
    let mut fences = Vec::new();
    for step in 0..250 {
        match below(dice, 8) {
            0 | 1 => {
                let reason = pick(dice, &Reason::ALL[..3]).unwrap();
                let mut letter = letter(clock, below(dice, 48) as u32 * HOUR, reason);
                if below(dice, 4) == 0 {
                    letter.failure.not_before = Some(clock.now() + 3 * HOUR + quarter);
                }
                ids.push(letter.id);
                model.push(letter.clone()).await.unwrap();
                store.push(letter).await.unwrap();
            }
            2 | 3 => {
                let mut claim = Claim::new(below(dice, 4) as u32, 2 * HOUR + quarter);
                claim.after = (below(dice, 2) == 0).then(|| pick(dice, &ids)).flatten();
                claim.filter.reason = (below(dice, 4) == 0).then_some(Reason::ALL[0]);
                let expected = model.claim(claim.clone()).await.unwrap().records;
                let claimed = store.claim(claim).await.unwrap().records;
                assert_eq!(timeless(&claimed), timeless(&expected), "step {step}");
                fences.extend(
                    claimed
                        .iter()
                        .map(|record| (record.letter.id, fence(record))),
                );
            }
            4 | 5 => {
                let Some((id, fence)) = pick(dice, &fences) else {
                    continue;
                };
                let failure = Failure::new(pick(dice, &Reason::ALL[..3]).unwrap(), clock.now());
                let status = StatusCode::CREATED;
                let outcome = match below(dice, 6) {
                    0 => Settlement::Delivered { status },
                    1 => Settlement::Refused { status },
                    2 => Settlement::Failed(failure),
                    3 => Settlement::Exhausted(failure),
                    4 => Settlement::Expired,
                    _ => Settlement::Released,
                };
                let expected = model.settle(id, fence, outcome.clone()).await;
                let settled = store.settle(id, fence, outcome).await;
                assert_eq!(text(settled), text(expected), "step {step}");
            }
            6 => {
                let Some(id) = pick(dice, &ids) else {
                    continue;
                };
                let marks = [Mark::Pending, Mark::Discarded, Mark::Expired];
                let mark = pick(dice, &marks).unwrap();
                let expected = model.mark(id, mark).await;
                assert_eq!(
                    text(store.mark(id, mark).await),
                    text(expected),
                    "step {step}"
                );
            }
            _ if below(dice, 4) == 0 => {
                let age = below(dice, 9) as u32 * HOUR + quarter;
                clock.advance(HOUR / 2);
                let expected = model.purge(age).await.unwrap();
                assert_eq!(store.purge(age).await.unwrap(), expected, "step {step}");
            }
            _ => clock.advance(HOUR),
        }
        let page = Page::first(1000);
        let expected = model.list(Filter::new(), page).await.unwrap();
        let listed = store.list(Filter::new(), page).await.unwrap();
        assert_eq!(timeless(&listed), timeless(&expected), "step {step}");
    }
    let (stats, expected) = (store.stats().await.unwrap(), model.stats().await.unwrap());
    assert_eq!(stats.counts, expected.counts);
    assert!(fences.len() > 20 && stats.counts.len() > 5, "{stats:?}");
}

/// A number below `end`, which is not zero.
fn below(dice: &Dice, end: u64) -> u64 {
    dice.roll() % end
}

fn pick<T: Copy>(dice: &Dice, all: &[T]) -> Option<T> {
    (!all.is_empty()).then(|| all[below(dice, all.len() as u64) as usize])
}

fn text<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.to_string(),
    }
}

/// The parts on which two stores must agree if their clocks differ by a moment.
fn timeless(records: &[Record]) -> Vec<(&Letter, StateKind, Option<u64>, u32)> {
    let timeless = |record: &Record| match record.state {
        State::Claimed { fence, .. } => Some(fence),
        _ => None,
    };
    let all = records.iter();
    all.map(|record| {
        (
            &record.letter,
            record.state.kind(),
            timeless(record),
            record.redrives,
        )
    })
    .collect()
}

/// For stores with a limit: the first letter beyond the limit is rejected, and the others are kept.
#[allow(
    dead_code,
    reason = "not every store has a capacity that a test can set"
)]
pub async fn a_full_store_says_so(store: &Any, clock: &Clock, capacity: u32) {
    let pushed = push(store, clock, capacity).await;
    let refused = store.push(letter(clock, HOUR / 2, Reason::Attempts)).await;
    assert!(matches!(refused, Err(PushError::Full)), "{refused:?}");
    assert_eq!(list(store, Filter::new()).await, pushed);
}
