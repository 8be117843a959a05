use std::{slice, sync::Arc};

use rusqlite::{Connection, TransactionBehavior};

use super::{
    SqliteError, SqliteFault,
    file::File,
    job::{Job, Kind},
    queue::Queue,
};

/// What the thread works with.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) file: File,
    /// How many pages the file may have for a push. What is there can always be claimed and settled: else a full store
    /// could not be emptied.
    pub(super) max_pages: u32,
}

type Jobs = Queue<Box<dyn Job>>;

impl Writer {
    /// The thread's life: until the last handle is gone, and all that was asked for is done.
    ///
    /// All changes that were asked for while the ones before were made durable share one transaction, and one sync of the
    /// disk. What only looks comes after them, and needs no lock.
    pub(super) fn run(mut self, queue: Arc<Jobs>) {
        let ended = Ended(queue);
        while let Some(mut jobs) = ended.0.take() {
            jobs.sort_by_key(|job| job.kind());
            let looks = jobs.split_off(jobs.partition_point(|job| job.kind() < Kind::Look));
            self.change(jobs);
            for mut job in looks {
                let done = run(&self.connection, slice::from_mut(&mut job));
                job.answer(done.map_err(SqliteError::from));
            }
        }
        // Before the handle learns of the end: the last connection to a file puts everything into it, and removes its log.
        drop(self);
    }

    /// Makes the changes, all or none; or, if one of them fails, each by itself, so that only that one fails.
    fn change(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if jobs.is_empty() {
            return;
        }
        let done = match self.transaction(&mut jobs) {
            Err(Failed::Midway(_)) if jobs.len() > 1 => return self.change_each(jobs),
            Err(Failed::Outset(error) | Failed::Midway(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        for job in jobs {
            job.answer(done.clone());
        }
    }

    fn change_each(&mut self, jobs: Vec<Box<dyn Job>>) {
        let mut outset = None;
        for mut job in jobs {
            let done = match &outset {
                // The rest would wait as long for the lock, one after another.
                Some(error) => Err(SqliteError::clone(error)),
                None => match self.transaction(slice::from_mut(&mut job)) {
                    Err(Failed::Outset(error)) => Err(outset.insert(error).clone()),
                    Err(Failed::Midway(error)) => Err(error),
                    Ok(()) => Ok(()),
                },
            };
            job.answer(done);
        }
    }

    fn transaction(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        if !self.file.is_in_place() {
            return Err(Failed::Outset(SqliteError::new(SqliteFault::Moved)));
        }
        // With the lock for writing, which is waited for as long as the connection's busy timeout says.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| Failed::Outset(error.into()))?;
        let pushes = jobs.partition_point(|job| job.kind() < Kind::Push);
        let (others, pushes) = jobs.split_at_mut(pushes);
        let changed = limit_and_run(&transaction, MAX_PAGES, others)
            .and_then(|()| limit_and_run(&transaction, self.max_pages, pushes))
            .and_then(|()| transaction.commit());
        changed.map_err(|error| Failed::Midway(error.into()))
    }
}

/// As many as a file of SQLite's can have.
const MAX_PAGES: u32 = u32::MAX - 1;

fn limit_and_run(
    connection: &Connection,
    max_pages: u32,
    jobs: &mut [Box<dyn Job>],
) -> rusqlite::Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    // A file that is larger already keeps its pages.
    connection.pragma_update(None, "max_page_count", max_pages)?;
    run(connection, jobs)
}

fn run(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let mut wanted = jobs.iter_mut().filter(|job| !job.is_forgotten());
    wanted.try_for_each(|job| job.run(connection))
}

enum Failed {
    /// Whatever the jobs are.
    Outset(SqliteError),
    /// Maybe by one of the jobs.
    Midway(SqliteError),
}

/// Tells the handles, even if the thread panics.
struct Ended(Arc<Jobs>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}
