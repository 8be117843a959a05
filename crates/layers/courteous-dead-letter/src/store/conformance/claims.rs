//! Which records a claim gets.

use super::steps::{Any, HOUR, claim, claim_one, fence, get, ids, letter, push};
use crate::{Claim, Clock, Filter, LetterId, Reason, State, StateKind, Tags};

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
