use std::{slice, sync::Arc};

use rusqlite::{Connection, TransactionBehavior};

use super::{
    SqliteError, SqliteFault,
    file::File,
    job::{Job, Kind},
    queue::Queue,
};

type Jobs = Vec<Box<dyn Job>>;

/// The thread's life: until the last handle is gone, and all that was asked for is done.
///
/// All changes that were asked for while the ones before were made durable share one transaction, and one sync of the disk.
/// What only looks comes after them, and needs no lock.
pub(super) fn run(mut connection: Connection, file: &File, queue: Arc<Queue<Box<dyn Job>>>) {
    let ended = Ended(queue);
    while let Some(mut jobs) = ended.0.take() {
        jobs.retain(|job| !job.is_forgotten());
        let (looks, changes): (Jobs, Jobs) =
            jobs.into_iter().partition(|job| job.kind() == Kind::Look);
        if !changes.is_empty() {
            change(&mut connection, file, changes);
        }
        for mut job in looks {
            let done = job.run(&connection).map_err(SqliteError::from);
            job.answer(done);
        }
    }
    // Before the handle learns of the end: the last connection to a file puts everything into it, and removes its log.
    drop(connection);
}

/// Makes the changes, all or none; or, if one of them fails, each by itself, so that only that one fails.
fn change(connection: &mut Connection, file: &File, mut jobs: Jobs) {
    let alone = jobs.len() == 1;
    let done = match transaction(connection, file, &mut jobs) {
        Err(Failed::Midway(_)) if !alone => {
            return change_each(connection, file, jobs);
        }
        Err(Failed::Outset(error) | Failed::Midway(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    for job in jobs {
        job.answer(done.clone());
    }
}

fn change_each(connection: &mut Connection, file: &File, jobs: Jobs) {
    let mut outset = None;
    for mut job in jobs {
        let done = match &outset {
            // The rest would have to wait as long, one after another.
            Some(error) => Err(SqliteError::clone(error)),
            None => transaction(connection, file, slice::from_mut(&mut job)).map_err(|failed| {
                match failed {
                    Failed::Outset(error) => outset.insert(error).clone(),
                    Failed::Midway(error) => error,
                }
            }),
        };
        job.answer(done);
    }
}

fn transaction(
    connection: &mut Connection,
    file: &File,
    jobs: &mut [Box<dyn Job>],
) -> Result<(), Failed> {
    if !file.is_in_place() {
        return Err(Failed::Outset(SqliteError::new(SqliteFault::Moved)));
    }
    // With the lock for writing, which is waited for as long as the connection's busy timeout says.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| Failed::Outset(error.into()))?;
    let mut run = || {
        for job in jobs.iter_mut() {
            job.run(&transaction)?;
        }
        Ok(())
    };
    match run() {
        Ok(()) => transaction.commit(),
        Err(error) => Err(error),
    }
    .map_err(|error| Failed::Midway(SqliteError::from(error)))
}

enum Failed {
    /// Whatever the jobs are.
    Outset(SqliteError),
    /// Maybe by one of the jobs.
    Midway(SqliteError),
}

/// Tells the handles, even if the thread panics.
struct Ended(Arc<Queue<Box<dyn Job>>>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}
