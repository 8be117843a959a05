use courteous_dead_letter::{Claim, Filter, LetterStore, Page, Payload};
use http::header::AUTHORIZATION;

use crate::support::*;

#[tokio::test]
async fn a_dry_run_counts_what_would_be_done_and_touches_nothing() {
    let (clock, store, redrive) = setup();
    let redrive = redrive.with_dry_run(true);
    let mut ids = Vec::new();
    // More than one page.
    for age in 1..=150 {
        ids.push(push(&store, letter(&clock, age * SECOND)).await);
    }
    push(&store, letter(&clock, 24 * HOUR)).await;
    let mut gone = letter(&clock, HOUR);
    gone.payload = Payload::Gone;
    push(&store, gone).await;
    let mut secret = letter(&clock, HOUR);
    secret.withheld.headers = vec![AUTHORIZATION];
    push(&store, secret).await;
    let mut later = letter(&clock, HOUR);
    later.failure.not_before = Some(clock.now() + HOUR);
    push(&store, later).await;
    // One record with a running claim, and one record whose claim has run out.
    for (id, lease) in [(ids[0], HOUR), (ids[1], SECOND)] {
        let mut claim = Claim::new(1, lease);
        claim.id = Some(id);
        assert_eq!(store.claim(claim).await.unwrap().records.len(), 1);
    }
    clock.advance(SECOND);
    let all = async || store.list(Filter::new(), Page::first(999)).await.unwrap();
    let before = all().await;

    let ledger = Ledger::default();
    let summary = redrive.run(&store, ledger.server(200)).await.unwrap();
    let counts = (summary.would_send, summary.expired, summary.not_sent);
    assert_eq!(counts, (149, 1, 2));
    assert_eq!(summary.total(), 152);
    assert!(ledger.requests().is_empty());
    assert_eq!(all().await, before);

    let one = redrive.with_id(ids[1]);
    let summary = one.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!((summary.would_send, summary.total()), (1, 1));
    assert!(summary.is_success());
}
