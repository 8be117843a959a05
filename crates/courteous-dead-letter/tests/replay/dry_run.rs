use courteous_dead_letter::{Payload, State};
use http::{HeaderName, header::AUTHORIZATION};

use crate::support::*;

#[tokio::test]
async fn a_dry_run_counts_what_would_be_done_and_touches_nothing() {
    let (clock, store, replay) = setup();
    let replay = replay.with_dry_run(true);
    let mut ids = Vec::new();
    // More than one page.
    for age in 1..=150 {
        ids.push(push(&store, letter(&clock, age * SECOND)).await);
    }
    ids.push(push(&store, letter(&clock, 24 * HOUR)).await);
    let mut gone = letter(&clock, HOUR);
    gone.payload = Payload::Gone;
    ids.push(push(&store, gone).await);
    let mut secret = letter(&clock, HOUR);
    secret.withheld.headers = vec![AUTHORIZATION, HeaderName::from_static("x-a")];
    ids.push(push(&store, secret).await);
    let mut later = letter(&clock, HOUR);
    later.failure.not_before = Some(clock.now() + SECOND);
    ids.push(push(&store, later).await);

    let ledger = Ledger::default();
    let summary = replay.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!(
        (summary.would_send, summary.expired, summary.not_sent),
        (150, 1, 2)
    );
    assert_eq!(summary.total(), 153);
    assert!(ledger.requests().is_empty());
    for id in &ids {
        assert_eq!(state(&store, *id).await, State::Pending);
    }
    let summary = replay
        .with_id(ids[0])
        .run(&store, ledger.server(200))
        .await
        .unwrap();
    assert_eq!((summary.would_send, summary.total()), (1, 1));
    assert!(summary.is_success());
}
