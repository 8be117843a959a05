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
    SqliteError, SqliteFault, backup, columns,
    file::File,
    job::{Answer, Asked, Job, Kind},
    queue::{Queue, Rejection, Weight},
    statements,
};

/// Keeps letters in an SQLite file.
///
/// One thread, named `dead-letters`, does all the work on the file. A push resolves when its commit
/// is durable. Letters that are pushed during a commit share the next commit (*group commit*). So
/// each push costs less when there are more pushes.
///
/// ```text
///  push --.                       one transaction
///  push ---+--> queue, bounded -> [claim settle push push] --> sync --> all are answered
///  settle -'                      then what only looks: get, list, stats
/// ```
///
/// A look holds up the pushes behind it. Most looks take a millisecond. But `stats` counts all
/// letters (a million in some tenths of a second). A list that filters only by a tag or a reason
/// looks at each letter until its page is full. `unreadable` reads every letter that passes its
/// filter, a thousand letters at a time, and pushes go on in between.
///
/// # Sharing
///
/// A store is a handle: its clones are the same store. It needs no runtime, and may be used from
/// several runtimes, one after another or at once. Several processes on the same machine may open
/// the same file. Each waits for the others as long as its [lock
/// timeout](crate::SqliteSettings::with_lock_timeout) allows. Do not put the file on a network file
/// system (see "Write-Ahead Logging" in SQLite's documentation). Use Postgres to share letters
/// between machines.
///
/// A store does not work in a forked process, as the fork does not copy the thread. There it
/// answers [`PushError::Closed`] and [`StoreError::Closed`]. Open the store after the fork.
///
/// # The file
///
/// The file is created so that only its owner may read it (mode 0600). So are the two files that
/// SQLite puts beside it, `-wal` and `-shm`. If a file gives others more rights, the store takes
/// them away or rejects the file: see
/// [`SqliteSettings::with_mode`](crate::SqliteSettings::with_mode). The file holds bodies as they
/// are. A fourth file, `-reserve`, keeps [room on the disk](crate::SqliteSettings::with_reserve).
///
/// # Backups
///
/// [`backup`](Self::backup), or the command `courteous-dlq backup`, copies a store while it is
/// written to. Copying the files by any other means is safe only while no process has the store
/// open:
///
/// - The three files change one after the other, and letters may be in the log only.
/// - A copy *by this process* (`std::fs::copy`) releases SQLite's locks on the file. Another
///   process may then believe that it is the last user, and remove the log. On Linux (64-bit x86
///   and ARM) the store holds a lock that a copy does not release, if the file system has such
///   locks (`F_OFD_SETLK`). On every system, `backup` and [`open_read_only`](Self::open_read_only)
///   release no lock.
///
/// # A file that is moved
///
/// The store compares the device and inode of all three files with those of the files that it
/// opened. It does so before each commit, and again after the commit, before it acknowledges
/// anything. If a file was removed, renamed or replaced, the store answers [`SqliteFault::Moved`]
/// and acknowledges nothing. It does the same if the path now leads elsewhere through a symbolic
/// link. If only the log is gone, the store puts the letters that it acknowledged before into the
/// database.
///
/// Such a store does not open the path again, as another store may be there, such as a restored
/// backup. Drop all handles, and open the store again. Looks still read the open file, so that
/// letters can be saved.
///
/// A file of an older version of this crate is brought up to date when it is opened. A file of a
/// newer version is rejected with [`StoreError::NewerSchema`].
///
/// # Cancel safety
///
/// Once `push` is called, the letter is written, whether its future is polled or dropped. When the
/// last handle is dropped, the thread writes the letters that are queued, and ends. The drop waits
/// for that, for a second at most. If the process ends earlier, letters whose push was not answered
/// may be lost.
///
/// A claim whose future is dropped may still be made. Its letters can be claimed again when the
/// lease is over.
///
/// # Errors
///
/// [`PushError::Full`]: the queue has reached its [bound](crate::SqliteSettings::with_max_queued),
/// or the file has reached its [largest size](crate::SqliteSettings::with_max_file_bytes), or the
/// disk is full.
/// All other errors hold an [`SqliteError`].
#[derive(Clone)]
pub struct SqliteStore {
    pub(crate) handle: Arc<Handle>,
    pub(crate) clock: Clock,
}

/// The thread's handle. The thread ends when this is dropped.
pub(crate) struct Handle {
    pub(crate) queue: Arc<Queue<Box<dyn Job>>>,
    pub(crate) thread: ThreadId,
    pub(crate) file: File,
    pub(crate) lock_timeout: Duration,
}

/// How long a drop waits for the thread. It is enough to write a full queue to a working disk. The
/// wait blocks a thread of the caller.
const DROP_WAIT: Duration = Duration::from_secs(1);

impl SqliteStore {
    /// Copies the store to a new file at `target`, which only its owner may read (mode 0600).
    ///
    /// The copy has every letter that was acknowledged before the call. It is one state of the
    /// store, whatever is written meanwhile. When this returns, the copy is durable, and was
    /// checked. The copy is a store itself. To restore it, close the store in every process, and
    /// put the copy in the place of the file. Then remove the `-wal`, `-shm` and `-reserve` that
    /// are left beside it.
    ///
    /// This blocks for as long as the copy takes, and holds up no push. From async code, call it
    /// with `spawn_blocking`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] with an [`SqliteError`]. Then there is no file at `target`, unless it
    /// was there before.
    pub fn backup(&self, target: impl AsRef<Path>) -> Result<(), StoreError> {
        if !self.handle.file.is_named() {
            return Err(SqliteError::new(SqliteFault::Moved).into());
        }
        let source = self.handle.file.path();
        backup::backup(source, target.as_ref(), self.handle.lock_timeout)
    }

    /// How many letters are queued: they were pushed, and are not durable yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.handle.queue.load().letters
    }

    /// How many bytes the queued letters have.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.handle.queue.load().bytes
    }

    /// How many letters were rejected since the store was opened, because too many were queued.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.handle.queue.rejected()
    }

    fn ask<T: Send + 'static>(
        &self,
        kind: Kind,
        weight: Weight,
        run: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Answer<T>, Rejection> {
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
            .map_err(|rejection| match rejection {
                Rejection::Full => SqliteError::new(SqliteFault::Overloaded).into(),
                Rejection::Closed => StoreError::Closed,
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
        if let Err(rejection) = &asked {
            tracing::error!(
                name: "rejected",
                target: "courteous::dead_letter_sqlite",
                id = %letter.id,
                cause = match rejection {
                    Rejection::Full => "full",
                    Rejection::Closed => "closed",
                },
                method = letter.method.as_str(),
                origin = letter.origin().named().map(tracing::field::display),
                "a dead letter was rejected"
            );
        }
        drop(letter);
        Box::pin(async move {
            let answer = asked.map_err(|rejection| match rejection {
                Rejection::Full => PushError::Full,
                Rejection::Closed => PushError::Closed,
            })?;
            Ok(answer.await.map_err(|_| PushError::Closed)??)
        })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        let queue = &self.handle.queue;
        if queue.is_forked() || queue.load().letters == 0 {
            return Box::pin(future::ready(()));
        }
        // The thread answers a look only after it has written the letters that were queued before
        // it.
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
                // The next try removes fewer records: the disk may have no room to remove that many
                // at once.
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
        // The thread itself may drop the last handle: it wakes tasks, and a task may hold a handle.
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
            .field("rejected", &self.rejected())
            .finish_non_exhaustive()
    }
}
