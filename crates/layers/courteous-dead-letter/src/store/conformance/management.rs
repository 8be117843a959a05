//! What is listed, counted, marked and purged.

use std::time::Duration;

use http::StatusCode;

use super::steps::{Any, HOUR, claim, claim_one, fence, get, ids, letter, list, push};
use crate::{
    Claim, Clock, Filter, LetterId, Mark, Page, Reason, Settlement, State, StateKind, StoreError,
    Tags,
};

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
