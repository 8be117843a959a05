//! What a settlement changes, and whose counts.

use courteous_core::Verdict;
use http::StatusCode;

use super::steps::{Any, HOUR, claim, claim_one, fence, get, push};
use crate::{Clock, PastAttempt, Reason, Settlement, State, StoreError};

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
