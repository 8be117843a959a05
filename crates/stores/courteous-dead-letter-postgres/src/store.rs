use std::{
    future::ready,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use courteous_dead_letter::{
    BoxFuture, Claim, Claimed, Filter, Letter, LetterId, LetterStore, Mark, Page, PushError,
    Record, Settlement, Sink, Stats, StoreError, Unreadable,
};

use crate::{handle::Handle, look, settings::Settings, settle::Settle};

/// Keeps letters in Postgres, for many machines.
///
/// A push resolves when its letter is committed. Letters that arrive during a commit share the next
/// statement. So do outcomes of redrives, and claims that are alike. Two redrives never get the
/// same record, whichever machines they run on: claims follow the database's clock, and skip
/// records that another claim has locked.
///
/// One thread, `dead-letter-pg`, has the only connection. The thread starts when it is first
/// needed, replaces a broken connection, and ends with the last handle.
///
/// # Sharing
///
/// Clones are handles of the same thread. The thread has its own runtime, so a handle works from
/// any runtime, or none.
///
/// # When Postgres is away
///
/// A request waits for a new connection for as long as the store's
/// [patience](crate::PostgresBuilder::with_patience), 5 s by default. Then the request fails, with a
/// [`PostgresError`](crate::PostgresError) as its source. A statement whose answer was lost is tried again, and does
/// nothing twice. A claim is the exception: if its answer was lost, its records stay claimed until
/// their lease ends.
///
/// Waiting letters are held in memory, within a [bound](crate::PostgresBuilder::with_max_waiting). Further
/// letters are rejected with [`PushError::Full`]. With a [spill](crate::PostgresBuilder::with_spill),
/// letters are written to a store on this machine instead, and so are letters that Postgres
/// refuses. They are handed over when Postgres is back.
///
/// # Cancel safety
///
/// Once `push` is called, the letter is written, whether its future is polled or dropped. When the
/// last handle is dropped, the thread does what it was asked, and ends. The drop waits until the
/// letters are written, for a second at most. If the process ends earlier, letters whose push was
/// not answered may be lost.
///
/// A claim whose future is dropped may still be made. Its records can be claimed again when the
/// lease is over.
///
/// # Errors
///
/// [`StoreError::NewerSchema`], at once, if the tables are of a newer version. Every error of the
/// database, or of the way to it, is a [`PostgresError`](crate::PostgresError) in [`StoreError::Failed`] and
/// [`PushError::Failed`].
///
/// # Example
///
/// ```no_run
/// use courteous_dead_letter::LetterStore;
/// use courteous_dead_letter_postgres::PostgresStore;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::connect("postgres://payments@db.example/payments").await?;
/// println!("{} letters wait", store.stats().await?.undelivered());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PostgresStore {
    handle: Arc<Handle>,
}

/// The work that a [`PostgresStore`] still has to do, and the letters that it rejected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Letters in memory: they were pushed, and are not yet committed, spilled or rejected.
    pub letters: usize,
    /// The bytes of these letters, roughly: for each, its body and 1 KiB.
    pub bytes: usize,
    /// Letters that are spilled, and wait for Postgres.
    pub spilled: u64,
    /// Letters that were rejected because memory or the spill was full, or because the spill failed.
    /// They were not kept.
    pub rejected: u64,
    /// Whether there is a connection. The store connects when it first needs to.
    pub is_connected: bool,
}

impl PostgresStore {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            handle: Arc::new(Handle::new(settings)),
        }
    }

    /// Waits for a connection.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        self.handle.ask(|_| Box::pin(ready(Ok(())))).await
    }

    /// Returns the work that is left and the letters that were rejected, for metrics and alerts.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let (letters, bytes) = self.handle.load();
        let gauge = self.handle.gauge();
        Backlog {
            letters,
            bytes,
            spilled: gauge.spilled.load(Relaxed),
            rejected: gauge.rejected.load(Relaxed),
            is_connected: gauge.connected.load(Relaxed),
        }
    }
}

impl Sink for PostgresStore {
    fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        self.handle.push(letter)
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.handle.flush())
    }
}

impl LetterStore for PostgresStore {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        Box::pin(self.handle.claim(claim))
    }

    fn settle(
        &self,
        id: LetterId,
        fence: u64,
        outcome: Settlement,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        // No record has a fencing number above `i64::MAX`.
        let fence = i64::try_from(fence).unwrap_or(i64::MAX);
        let settle = Settle { id, fence, outcome };
        Box::pin(self.handle.settle(settle))
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        Box::pin(
            self.handle
                .ask(move |session| Box::pin(look::get(session, id))),
        )
    }

    fn list(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(self.handle.ask(move |session| {
            let filter = filter.clone();
            Box::pin(async move { look::list(session, &filter, page).await })
        }))
    }

    fn unreadable(
        &self,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Vec<Unreadable>, StoreError>> {
        Box::pin(self.handle.ask(move |session| {
            let filter = filter.clone();
            Box::pin(async move { look::unreadable(session, &filter, page).await })
        }))
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, StoreError>> {
        Box::pin(self.handle.ask(|session| Box::pin(look::stats(session))))
    }

    fn mark(&self, id: LetterId, mark: Mark) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(
            self.handle
                .ask(move |session| Box::pin(look::mark(session, id, mark))),
        )
    }

    fn purge(&self, older_than: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut purged = 0;
            loop {
                // Each part is a request of its own, so that letters are written in between.
                let part = self
                    .handle
                    .ask(move |session| Box::pin(look::purge(session, older_than)))
                    .await?;
                purged += part;
                if part < look::PURGE_PART {
                    return Ok(purged);
                }
            }
        })
    }
}
