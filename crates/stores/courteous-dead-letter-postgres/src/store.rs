use std::{
    future::ready,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use courteous_dead_letter::{
    BoxFuture, Claim, Claimed, Filter, Letter, LetterId, LetterStore, Mark, Page, PushError,
    Record, Settlement, Sink, Stats, StoreError, Unreadable,
};

use crate::{
    PostgresBuilder, PostgresError, handle::Handle, look, settings::Settings, settle::Settle,
};

/// Keeps letters in Postgres, for many machines.
///
/// A push resolves when its letter is committed. Letters that come while others are being committed share one statement;
/// so do outcomes of redrives, and claims that are alike. Two redrives on any machines never get the same record: claims go by
/// the database's clock, and skip what another one has locked.
///
/// One thread, `dead-letter-pg`, has the one connection. It is started when it is first needed, makes a new connection when
/// the old one broke, and ends with the last handle.
///
/// # Sharing
///
/// Clones are handles of the same thread. It has a runtime of its own, so that a handle works from any runtime, or none.
///
/// # When Postgres is away
///
/// What is asked waits for as long as the store's [patience](PostgresBuilder::with_patience), 5 s by default, while the
/// connection is made anew; then it fails, with a [`PostgresError`] as its source. A statement whose answer was lost is
/// tried again, and does nothing twice. A claim whose answer was lost is the exception: its records are claimed until their
/// lease ends.
///
/// Letters that wait are held in memory, within a [bound](PostgresBuilder::with_max_waiting); beyond it they are refused by
/// [`PushError::Full`]. With a [spill](PostgresBuilder::with_spill) they are written to a store on this machine instead, also
/// those that Postgres refuses, and handed over when it is back.
///
/// # Cancel safety
///
/// A letter that was handed over is written, whether its future is polled or dropped. When the last handle is dropped, the
/// thread does what it was asked, and ends; the drop waits for letters to be written, for a second at the most. If the process
/// ends before, what was not answered may be lost.
///
/// A claim whose future is dropped may have been made: its records can be claimed again when the lease is over.
///
/// # Errors
///
/// [`StoreError::NewerSchema`], at once, if the tables are those of a newer version. All that the database says, or its
/// absence, is a [`PostgresError`] in [`StoreError::Failed`] and [`PushError::Failed`].
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

/// What a [`PostgresStore`] has to do, and what it could not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Letters in memory: those that were pushed, and are not yet committed, spilled or refused.
    pub letters: usize,
    /// Their bytes, roughly: each body, and 1 KiB.
    pub bytes: usize,
    /// Letters that are spilled, and wait for Postgres.
    pub spilled: u64,
    /// Letters that were refused, as memory or the spill was full, or the spill failed. They were not kept.
    pub refused: u64,
    /// Whether there is a connection. It is made when it is first needed.
    pub is_connected: bool,
}

impl PostgresStore {
    /// Connects to the database that `url` names, and makes the tables if they are not there.
    ///
    /// The connection is not encrypted; [`PostgresBuilder::with_tls`] does that. For a URL that begins with `postgres://`,
    /// and for the form `host=/run/postgresql dbname=payments`.
    ///
    /// # Errors
    ///
    /// When the URL cannot be read, the database cannot be reached, or its tables are of a newer version.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::builder(url)
            .map_err(StoreError::failed)?
            .connect()
            .await
    }

    /// A store with other settings than the defaults.
    ///
    /// # Errors
    ///
    /// When the URL cannot be read.
    pub fn builder(url: &str) -> Result<PostgresBuilder, PostgresError> {
        let config = url.parse().map_err(|error| PostgresError::new(&error))?;
        Ok(PostgresBuilder::new(config))
    }

    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            handle: Arc::new(Handle::new(settings)),
        }
    }

    /// Waits for a connection.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        self.handle.ask(|_| Box::pin(ready(Ok(())))).await
    }

    /// What there is to do, and what could not be done: for metrics, and alerts.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let (letters, bytes) = self.handle.load();
        let gauge = self.handle.gauge();
        Backlog {
            letters,
            bytes,
            spilled: gauge.spilled.load(Relaxed),
            refused: gauge.refused.load(Relaxed),
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
        // No record has one above.
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
                // Each part is asked by itself, so that letters are written between them.
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
