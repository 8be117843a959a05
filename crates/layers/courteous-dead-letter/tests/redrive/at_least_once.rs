use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use courteous_dead_letter::{
    BoxFuture, Claim, Claimed, Filter, Letter, LetterId, LetterStore, Mark, MemoryStore, Page,
    PushError, Record, Settlement, Sink, State, Stats, StoreError,
};
use tokio_test::task;

use crate::support::*;

/// A store whose settlements fail this often, written or not, and then succeed; or never end.
#[derive(Clone, Debug)]
struct Faulty {
    store: MemoryStore,
    failures: Arc<AtomicU32>,
    writes: bool,
    hangs: bool,
    claims_fail: bool,
}

impl Faulty {
    fn new(store: &MemoryStore) -> Self {
        Self {
            store: store.clone(),
            failures: Arc::default(),
            writes: false,
            hangs: false,
            claims_fail: false,
        }
    }
}

impl Sink for Faulty {
    fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        self.store.push(letter)
    }
}

impl LetterStore for Faulty {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        if self.claims_fail {
            return Box::pin(async { Err(StoreError::failed("no connection")) });
        }
        self.store.claim(claim)
    }

    fn settle(
        &self,
        id: LetterId,
        fence: u64,
        outcome: Settlement,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.hangs {
            return Box::pin(std::future::pending());
        }
        let fails = self
            .failures
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        match fails {
            Ok(_) => Box::pin(async move {
                if self.writes {
                    self.store.settle(id, fence, outcome).await?;
                }
                Err(StoreError::failed("no connection"))
            }),
            Err(_) => self.store.settle(id, fence, outcome),
        }
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        self.store.get(id)
    }

    fn list(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.store.list(filter, page)
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, StoreError>> {
        self.store.stats()
    }

    fn mark(&self, id: LetterId, mark: Mark) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.mark(id, mark)
    }

    fn purge(&self, older_than: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.purge(older_than)
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_answer_and_the_settlement_is_a_duplicate_with_the_same_key() {
    let (clock, store, redrive) = setup();
    for age in 1..=5 {
        push(&store, letter(&clock, age * HOUR)).await;
    }
    let ledger = Ledger::default();
    let crashing = Faulty {
        hangs: true,
        ..Faulty::new(&store)
    };
    {
        let run = redrive.run(&crashing, ledger.server(200));
        let killed = tokio::time::timeout(SECOND, run).await;
        assert!(killed.is_err());
    }
    assert_eq!((ledger.requests().len(), ledger.charges()), (5, 5));

    // Until the leases have ended, no other redrive sends the records.
    let summary = redrive.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!(summary.total(), 0);
    clock.advance(61 * SECOND);
    let summary = redrive.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!(summary.delivered, 5);
    // Each record was sent twice, under the same key: the ledger is unharmed.
    assert_eq!((ledger.requests().len(), ledger.charges()), (10, 5));
    assert_eq!(store.stats().await.unwrap().undelivered(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_redrive_that_is_killed_while_it_sends_is_gone_on_with_by_another() {
    let (clock, store, redrive) = setup();
    for age in 1..=20 {
        push(&store, letter(&clock, age * SECOND)).await;
    }
    let ledger = Ledger::default();
    {
        let mut run = task::spawn(redrive.run(&store, ledger.server_after(SECOND, 200)));
        assert!(run.poll().is_pending());
    }
    assert_eq!(ledger.requests().len(), 8);
    clock.advance(61 * SECOND);
    let summary = redrive.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!(summary.delivered, 20);
    assert_eq!(ledger.charges(), 20);
}

#[tokio::test(start_paused = true)]
async fn two_redrives_at_once_share_the_work() {
    let (clock, store, redrive) = setup();
    for age in 1..=100 {
        push(&store, letter(&clock, age * SECOND)).await;
    }
    let ledger = Ledger::default();
    let server = || ledger.server_after(SECOND, 200);
    let (one, two) = tokio::join!(redrive.run(&store, server()), redrive.run(&store, server()));
    let (one, two) = (one.unwrap().delivered, two.unwrap().delivered);
    assert_eq!(one + two, 100);
    assert!(one > 30 && two > 30, "{one} and {two}");
    assert_eq!((ledger.requests().len(), ledger.charges()), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn what_another_has_claimed_meanwhile_is_lost_to_this_one() {
    let (clock, store, redrive) = setup();
    let id = push(&store, letter(&clock, HOUR)).await;
    let ledger = Ledger::default();
    let mut run = task::spawn(redrive.run(&store, ledger.server_after(SECOND, 200)));
    assert!(run.poll().is_pending());
    // The machine was suspended: its lease has ended, and another worker was faster.
    clock.advance(61 * SECOND);
    let other = store
        .claim(Claim::new(1, HOUR))
        .await
        .unwrap()
        .records
        .remove(0);
    tokio::time::sleep(2 * SECOND).await;
    let summary = run.await.unwrap();
    assert_eq!((summary.lost, summary.total()), (1, 1));
    assert_eq!(get(&store, id).await, other);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_is_tried_again_until_it_is_written() {
    let (clock, store, redrive) = setup();
    let id = push(&store, letter(&clock, HOUR)).await;
    let faulty = Faulty::new(&store);
    faulty.failures.store(5, SeqCst);
    let ledger = Ledger::default();
    let summary = redrive.run(&faulty, ledger.server(200)).await.unwrap();
    assert_eq!((summary.delivered, ledger.requests().len()), (1, 1));
    assert_eq!(state(&store, id).await, DELIVERED);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_whose_answer_was_lost_is_not_lost_itself() {
    for (status, expected) in [(200, (1, 0, 0)), (404, (0, 1, 0)), (503, (0, 0, 1))] {
        let (clock, store, redrive) = setup();
        let id = push(&store, letter(&clock, HOUR)).await;
        let faulty = Faulty {
            writes: true,
            ..Faulty::new(&store)
        };
        faulty.failures.store(1, SeqCst);
        let ledger = Ledger::default();
        let summary = redrive.run(&faulty, ledger.server(status)).await.unwrap();
        assert_eq!(
            (summary.delivered, summary.refused, summary.failed),
            expected
        );
        assert_eq!((summary.total(), ledger.requests().len()), (1, 1));
        assert_eq!(get(&store, id).await.redrives, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_ends_the_run_with_its_error() {
    let (clock, store, redrive) = setup();
    let id = push(&store, letter(&clock, HOUR)).await;
    let faulty = Faulty::new(&store);
    faulty.failures.store(u32::MAX, SeqCst);
    let start = tokio::time::Instant::now();
    let error = redrive
        .run(&faulty, Ledger::default().server(200))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)));
    assert!(start.elapsed() <= 60 * SECOND, "the claim has run out");
    assert!(matches!(state(&store, id).await, State::Claimed { .. }));

    let faulty = Faulty {
        claims_fail: true,
        ..Faulty::new(&store)
    };
    let error = redrive
        .run(&faulty, Ledger::default().server(200))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)));
}
