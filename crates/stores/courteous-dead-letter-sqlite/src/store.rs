use std::{
    fmt, future,
    path::Path,
    sync::Arc,
    thread::{self, ThreadId},
    time::Duration,
};

use courteous_dead_letter::{
    BoxFuture, Claim, Claimed, Clock, Filter, Letter, LetterId, LetterStore, Mark, Page, PushError,
    Record, Settlement, Sink, Stats, StoreError, Unreadable, row::Row,
};
use rusqlite::Connection;

use crate::{
    SqliteError, SqliteFault, SqliteOptions, backup, columns,
    file::File,
    job::{Answer, Asked, Job, Kind},
    queue::{Queue, Refusal, Weight},
    statements,
};

/// Keeps letters in an SQLite file.
///
/// One thread, named `dead-letters`, does all that has to do with the file. A push resolves when its commit is durable, and all
/// that is pushed while the one before is made durable shares one commit (*group commit*): the more is pushed, the less each
/// push costs.
///
/// ```text
///  push --.                       one transaction
///  push ---+--> queue, bounded -> [claim settle push push] --> sync --> all are answered
///  settle -'                      then what only looks: get, list, stats
/// ```
///
/// A look holds up the pushes behind it. Most take a millisecond; but `stats` counts all letters (a million in some tenths of a
/// second), and a list by a tag or by a reason alone looks at each letter until its page is full. `unreadable` reads all that its
/// filter lets through, a thousand letters at a time: pushes go on between them.
///
/// # Sharing
///
/// A store is a handle: its clones are the same store. It needs no runtime, and may be used from several, one after another or
/// at once. Several processes may open the same file, on the same machine: each waits for the others as long as its
/// [lock timeout](SqliteOptions::with_lock_timeout) allows. A network file system is no place for it (see "Write-Ahead
/// Logging" in SQLite's documentation): what several machines share belongs into Postgres.
///
/// A store does not go along into a forked process, which has no such thread: there it answers [`PushError::Closed`] and
/// [`StoreError::Closed`]. Open it after the fork.
///
/// # The file
///
/// It is created so that only its owner may read it (mode 0600), and so are the two that SQLite puts beside it, `-wal` and
/// `-shm`. One that gives others more rights is tightened, or refused: see [`SqliteOptions::with_mode`]. Bodies are in it as
/// they are. A fourth file, `-reserve`, keeps [room on the disk](SqliteOptions::with_reserve).
///
/// # Backups
///
/// [`backup`](Self::backup), or the command `courteous-dlq backup`, copies a store while it is written to. Copying the files by
/// any other means is safe only while no process has the store open:
///
/// - the three files change one after the other, and letters may be in the log only;
/// - a copy that is made *by this process* (`std::fs::copy`) releases the locks that SQLite has on the file. Another process
///   may then take itself for the last one, and remove the log. On Linux (64-bit x86 and ARM) the store holds a lock that a copy
///   does not release, if the file system has such locks (`F_OFD_SETLK`). `backup` and
///   [`open_read_only`](Self::open_read_only) release no lock anywhere.
///
/// # A file that is moved
///
/// At each commit, the store compares device and inode of all three files with those that it has opened: before, and again
/// after the commit and before anything is acknowledged. If one of them was removed, renamed or replaced, or if the path leads
/// elsewhere through a symbolic link, the store answers [`SqliteFault::Moved`] and acknowledges nothing. What was
/// acknowledged before is put into the database if only the log is gone.
///
/// Such a store does not open the path again: what is there may be another store, such as a backup that was restored. Drop all
/// handles, and open it. Looks still read what is open, so that letters can be saved.
///
/// A file of an older version of this crate is brought up to date when it is opened; one of a newer version is refused by
/// [`StoreError::NewerSchema`].
///
/// # Cancel safety
///
/// A letter that was handed over is written, whether its future is polled or dropped. When the last handle is dropped, the thread
/// writes what was handed over, and ends; the drop waits for that, for a second at the most. If a process ends before,
/// what was not answered may be lost.
///
/// A claim whose future is dropped may have been made: its letters can be claimed again when the lease is over.
///
/// # Errors
///
/// [`PushError::Full`]: so many letters wait to be written as [may](SqliteOptions::with_max_queued), or the file has the
/// size that it [may have](SqliteOptions::with_max_file_bytes), or the disk is full. All others hold an [`SqliteError`].
#[derive(Clone)]
pub struct SqliteStore {
    pub(crate) handle: Arc<Handle>,
    pub(crate) clock: Clock,
}

/// Ends the thread.
pub(crate) struct Handle {
    pub(crate) queue: Arc<Queue<Box<dyn Job>>>,
    pub(crate) thread: ThreadId,
    pub(crate) file: File,
    pub(crate) lock_timeout: Duration,
}

/// Enough for what is queued on a disk that works. It is a thread of the caller's that waits.
const DROP_WAIT: Duration = Duration::from_secs(1);

impl SqliteStore {
    /// Opens the file at `path`, or creates it, with the default [options](SqliteOptions).
    ///
    /// This blocks: for milliseconds, or while somebody else has the file locked.
    ///
    /// # Errors
    ///
    /// As [`SqliteOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        SqliteOptions::new().open(path)
    }

    /// Opens the file at `path` to be looked at, with the default [options](SqliteOptions).
    ///
    /// # Errors
    ///
    /// As [`SqliteOptions::open_read_only`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        SqliteOptions::new().open_read_only(path)
    }

    /// Copies the store to a new file at `target`, which only its owner may read (mode 0600).
    ///
    /// The copy has every letter that was acknowledged before the call, and is one state of the store, whatever is written
    /// meanwhile. It is durable, and was checked, when this returns. It is a store: a restore puts it in the place of the
    /// file while no process has the store open, and removes the `-wal`, `-shm` and `-reserve` that are left beside it.
    ///
    /// This blocks for as long as the copy takes, and holds up no push: call it by `spawn_blocking` from async code.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] with an [`SqliteError`]. There is no file at `target` then, unless it was there before.
    pub fn backup(&self, target: impl AsRef<Path>) -> Result<(), StoreError> {
        if !self.handle.file.is_named() {
            return Err(SqliteError::new(SqliteFault::Moved).into());
        }
        let source = self.handle.file.path();
        backup::backup(source, target.as_ref(), self.handle.lock_timeout)
    }

    /// How many letters were handed over and are not durable yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.handle.queue.load().letters
    }

    /// How many bytes they have.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.handle.queue.load().bytes
    }

    /// How many letters were refused since the store was opened, because too many were queued.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.handle.queue.refused()
    }

    fn ask<T: Send + 'static>(
        &self,
        kind: Kind,
        weight: Weight,
        run: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Answer<T>, Refusal> {
        let (job, answer) = Asked::new(kind, run);
        self.handle.queue.ask(Box::new(job), weight)?;
        Ok(answer)
    }

    async fn asked<T: Send + 'static>(
        &self,
        kind: Kind,
        run: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let answer = self
            .ask(kind, Weight::Other, run)
            .map_err(|refusal| match refusal {
                Refusal::Full => SqliteError::new(SqliteFault::Overloaded).into(),
                Refusal::Closed => StoreError::Closed,
            })?;
        Ok(answer.await.map_err(|_| StoreError::Closed)??)
    }
}

impl Sink for SqliteStore {
    fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        let row = Row::new(&letter, self.clock.now());
        let weight = Weight::Letter(columns::size(&row));
        let asked = self.ask(Kind::Push, weight, move |connection| {
            columns::insert(connection, &row)
        });
        #[cfg(feature = "tracing")]
        if let Err(refusal) = &asked {
            tracing::error!(
                name: "refused",
                target: "courteous::dead_letter_sqlite",
                id = %letter.id,
                cause = match refusal {
                    Refusal::Full => "full",
                    Refusal::Closed => "closed",
                },
                method = letter.method.as_str(),
                origin = letter.origin().named().map(tracing::field::display),
                "a dead letter was refused"
            );
        }
        drop(letter);
        Box::pin(async move {
            let answer = asked.map_err(|refusal| match refusal {
                Refusal::Full => PushError::Full,
                Refusal::Closed => PushError::Closed,
            })?;
            Ok(answer.await.map_err(|_| PushError::Closed)??)
        })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        let queue = &self.handle.queue;
        if queue.is_forked() || queue.load().letters == 0 {
            return Box::pin(future::ready(()));
        }
        // The thread answers what looks after it has written the letters that were there before.
        let written = self.asked(Kind::Look, |_| Ok(()));
        Box::pin(async move { drop(written.await) })
    }
}

impl LetterStore for SqliteStore {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        let clock = self.clock.clone();
        let claimed = self.asked(Kind::Claim, move |connection| {
            statements::claim(connection, &claim, clock.now())
        });
        Box::pin(claimed)
    }

    fn settle(
        &self,
        id: LetterId,
        fence: u64,
        outcome: Settlement,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let clock = self.clock.clone();
        let settled = self.asked(Kind::Settle, move |connection| {
            statements::settle(connection, id, fence, &outcome, clock.now())
        });
        Box::pin(async move { settled.await? })
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        let found = self.asked(Kind::Look, move |connection| {
            statements::get(connection, id)
        });
        Box::pin(async move { found.await? })
    }

    fn list(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let found = self.asked(Kind::Look, move |connection| {
            statements::list(connection, &filter, page)
        });
        Box::pin(found)
    }

    fn unreadable(
        &self,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Vec<Unreadable>, StoreError>> {
        Box::pin(async move {
            let (mut found, mut part) = (Vec::new(), page);
            loop {
                let filter = filter.clone();
                let looked = self.asked(Kind::Look, move |connection| {
                    statements::unreadable(connection, &filter, part)
                });
                let (some, next) = looked.await?;
                let named = some.iter().filter(|one| one.id.is_some()).count();
                part.limit = part.limit.saturating_sub(named as u32);
                part.after = next;
                found.extend(some);
                if next.is_none() || part.limit == 0 {
                    return Ok(found);
                }
            }
        })
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, StoreError>> {
        let clock = self.clock.clone();
        let counted = self.asked(Kind::Look, move |connection| {
            statements::stats(connection, clock.now())
        });
        Box::pin(counted)
    }

    fn mark(&self, id: LetterId, mark: Mark) -> BoxFuture<'_, Result<(), StoreError>> {
        let clock = self.clock.clone();
        let marked = self.asked(Kind::Settle, move |connection| {
            statements::mark(connection, id, mark, clock.now())
        });
        Box::pin(async move { marked.await? })
    }

    fn purge(&self, older_than: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        let cutoff = self.clock.now().checked_sub(older_than);
        Box::pin(async move {
            let Some(cutoff) = cutoff else { return Ok(0) };
            let mut removed = 0;
            loop {
                // Fewer at the next try: the disk may have no room to remove so many at once.
                let mut most = statements::PURGE_BATCH;
                let batch = self.asked(Kind::Claim, move |connection| {
                    let now = most;
                    most = (most / 8).max(1);
                    statements::purge(connection, cutoff, now)
                });
                let batch = batch.await?;
                removed += batch as u64;
                if batch == 0 {
                    return Ok(removed);
                }
            }
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.queue.is_forked() {
            return;
        }
        self.queue.close();
        // The thread itself may be the last to wake somebody who has a handle.
        if thread::current().id() != self.thread {
            self.queue.wait_for_end(DROP_WAIT);
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = self.handle.queue.load();
        f.debug_struct("SqliteStore")
            .field("queued", &load.letters)
            .field("queued_bytes", &load.bytes)
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}
