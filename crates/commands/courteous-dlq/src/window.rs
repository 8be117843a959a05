use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use courteous_dead_letter::{
    BoxFuture, Claim, Claimed, Filter, Letter, LetterId, LetterStore, Mark, Page, PushError,
    Record, Settlement, Sink, Stats, StoreError, Unreadable,
};

/// A store that shows a replay at most a given number of letters, and none once it is closed. So a
/// replay ends in good order, and leaves nothing claimed.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    store: &'a dyn LetterStore,
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    letters: usize,
    closed: bool,
}

impl<'a> Window<'a> {
    pub(crate) const fn new(store: &'a dyn LetterStore, letters: usize) -> Self {
        let left = Left {
            letters,
            closed: false,
        };
        Self {
            store,
            left: Mutex::new(left),
        }
    }

    /// Shows no more letters.
    pub(crate) fn close(&self) {
        self.left().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.left().closed
    }

    /// Reserves as many of the `wanted` letters as may still be seen.
    fn take(&self, wanted: u32) -> u32 {
        let mut left = self.left();
        if left.closed {
            return 0;
        }
        let taken = left.letters.min(wanted as usize);
        left.letters -= taken;
        // At most `wanted`, so the cast is exact.
        taken as u32
    }

    fn give_back(&self, taken: u32, seen: usize) {
        let unseen = (taken as usize).saturating_sub(seen);
        let mut left = self.left();
        left.letters = left.letters.saturating_add(unseen);
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Window<'_> {
    fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        self.store.push(letter)
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        self.store.flush()
    }
}

impl LetterStore for Window<'_> {
    fn claim(&self, mut claim: Claim) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        Box::pin(async move {
            let taken = self.take(claim.max);
            if taken == 0 {
                return Ok(Claimed::default());
            }
            claim.max = taken;
            let claimed = self.store.claim(claim).await?;
            self.give_back(taken, claimed.records.len());
            Ok(claimed)
        })
    }

    fn list(
        &self,
        filter: Filter,
        mut page: Page,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let taken = self.take(page.limit);
            if taken == 0 {
                return Ok(Vec::new());
            }
            page.limit = taken;
            let records = self.store.list(filter, page).await?;
            self.give_back(taken, records.len());
            Ok(records)
        })
    }

    fn unreadable(
        &self,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Vec<Unreadable>, StoreError>> {
        Box::pin(async move {
            match self.is_closed() {
                true => Ok(Vec::new()),
                false => self.store.unreadable(filter, page).await,
            }
        })
    }

    fn settle(
        &self,
        id: LetterId,
        fence: u64,
        outcome: Settlement,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.settle(id, fence, outcome)
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        self.store.get(id)
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
