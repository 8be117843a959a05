use std::{slice, sync::Arc};

use rusqlite::{Connection, TransactionBehavior, config::DbConfig};

use crate::{
    SqliteError, SqliteFault,
    file::{File, Names},
    job::{Job, Kind},
    lock::Lock,
    queue::Queue,
    reserve::Reserve,
};

/// The state of the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Closed before the lock's file.
    pub(crate) connection: Connection,
    pub(crate) lock: Lock,
    pub(crate) file: File,
    /// How many pages the file may have for a push. Claims and settlements ignore this bound:
    /// otherwise a full store could not be emptied.
    pub(crate) max_pages: u32,
    pub(crate) reserve: Reserve,
}

pub(crate) type Jobs = Queue<Box<dyn Job>>;

impl Writer {
    /// Runs the thread until the last handle is gone, and every job is done.
    ///
    /// All changes that arrive during a commit share the next transaction, and one sync of the
    /// disk. Looks come after the changes, and need no lock.
    pub(crate) fn run(mut self, queue: Arc<Jobs>) {
        let ended = Ended::of(queue);
        while let Some(mut jobs) = ended.queue().take() {
            jobs.sort_by_key(|job| job.kind());
            let looks = jobs.split_off(jobs.partition_point(|job| job.kind() < Kind::Look));
            self.change(jobs);
            for mut job in looks {
                let done = run(&self.connection, slice::from_mut(&mut job));
                job.answer(done.map_err(SqliteError::from));
            }
        }
        // The connection must close before the handle learns of the end. The last connection to a
        // file puts the log into it, and removes the log.
        drop(self);
    }

    /// Makes the changes, all or none. If one of them fails, makes each change alone, so that only
    /// that one fails.
    fn change(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let pushes = jobs.partition_point(|job| job.kind() < Kind::Push);
        let is_kept = self.file.names() == Names::Kept;
        if pushes < jobs.len() && is_kept && !self.reserve.is_in_place() {
            for job in jobs.drain(pushes..) {
                job.answer(Err(SqliteError::new(SqliteFault::Full)));
            }
        }
        if jobs.is_empty() {
            return;
        }
        let done = match self.transaction(&mut jobs) {
            Err(Failed::Midway(_)) if jobs.len() > 1 => return self.change_each(jobs),
            Err(failed) => self.once_more(&mut jobs, failed),
            Ok(()) => Ok(()),
        };
        let done = done.map_err(Failed::into_error);
        for job in jobs {
            job.answer(done.clone());
        }
    }

    fn change_each(&mut self, jobs: Vec<Box<dyn Job>>) {
        let mut outset = None;
        for mut job in jobs {
            let done = match &outset {
                // The other jobs would each wait as long for the lock.
                Some(error) => Err(SqliteError::clone(error)),
                None => {
                    let one = slice::from_mut(&mut job);
                    let done = self.transaction(one);
                    match done.or_else(|failed| self.once_more(one, failed)) {
                        Err(Failed::Outset(error)) => Err(outset.insert(error).clone()),
                        Err(Failed::Midway(error)) => Err(error),
                        Ok(()) => Ok(()),
                    }
                }
            };
            job.answer(done);
        }
    }

    /// Tries a change again if it found the disk full and adds no letter. First frees the room of
    /// the reserve and of the log.
    fn once_more(&mut self, jobs: &mut [Box<dyn Job>], mut failed: Failed) -> Result<(), Failed> {
        let has_letters = jobs.iter().any(|job| job.kind() == Kind::Push);
        for _ in 0..TRIES {
            if failed.fault() != SqliteFault::Full || has_letters {
                break;
            }
            self.reserve.release();
            // Data that has no room in the database stays in the log.
            let _ = self.checkpoint();
            match self.transaction(jobs) {
                Err(again) => failed = again,
                Ok(()) => return Ok(()),
            }
        }
        Err(failed)
    }

    fn transaction(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        self.check_place().map_err(Failed::Outset)?;
        // This takes the lock for writing. It waits for the lock as long as the connection's busy
        // timeout allows.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| Failed::Outset(error.into()))?;
        let pushes = jobs.partition_point(|job| job.kind() < Kind::Push);
        let (others, pushes) = jobs.split_at_mut(pushes);
        let changed = limit_and_run(&transaction, MAX_PAGES, others)
            .and_then(|()| limit_and_run(&transaction, self.max_pages, pushes))
            .and_then(|()| transaction.commit());
        changed.map_err(|error| Failed::Midway(error.into()))?;
        // The changes are committed. But they are not acknowledged if the files have lost their
        // names meanwhile.
        self.check_place().map_err(Failed::Outset)
    }

    /// Checks whether the next process will find the committed changes.
    fn check_place(&self) -> Result<(), SqliteError> {
        match self.file.names() {
            Names::Kept => return Ok(()),
            // Changes that were acknowledged before are in the log, which has lost its name. So
            // they are put into the database.
            Names::NoLog => drop(self.checkpoint()),
            Names::Moved => {}
        }
        Err(SqliteError::new(SqliteFault::Moved))
    }

    /// Puts the content of the log into the database.
    fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // SQLite removes the log by its name, so it would remove the log of another file.
        if self.file.names() != Names::Kept {
            let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            let _ = self.connection.set_db_config(keep, true);
        }
        // Then the last connection can remove the log.
        self.lock.release();
    }
}

/// How often a change is tried again on a full disk. A purge removes fewer records at each try.
const TRIES: u32 = 3;

/// The most pages that an SQLite file can have.
const MAX_PAGES: u32 = u32::MAX - 1;

fn limit_and_run(
    connection: &Connection,
    max_pages: u32,
    jobs: &mut [Box<dyn Job>],
) -> rusqlite::Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    // A file that is already larger keeps its pages.
    connection.pragma_update(None, "max_page_count", max_pages)?;
    run(connection, jobs)
}

pub(crate) fn run(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let mut wanted = jobs.iter_mut().filter(|job| !job.is_forgotten());
    wanted.try_for_each(|job| job.run(connection))
}

enum Failed {
    /// The transaction failed for every job, whatever the jobs are.
    Outset(SqliteError),
    /// One of the jobs may be the cause.
    Midway(SqliteError),
}

impl Failed {
    const fn fault(&self) -> SqliteFault {
        let (Self::Outset(error) | Self::Midway(error)) = self;
        error.fault()
    }

    fn into_error(self) -> SqliteError {
        let (Self::Outset(error) | Self::Midway(error)) = self;
        error
    }
}

/// Tells the handles that the thread has ended, even if it panics.
pub(crate) struct Ended(Arc<Jobs>);

impl Ended {
    pub(crate) const fn of(queue: Arc<Jobs>) -> Self {
        Self(queue)
    }

    pub(crate) fn queue(&self) -> &Jobs {
        &self.0
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}
