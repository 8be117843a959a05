use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{
    file::File,
    job::{Job, Kind},
    queue::Queue,
};
use crate::StoreError;

/// What the thread does, until the last handle is gone and all that it asked for is done.
///
/// All changes that were asked for while the last ones were made durable share one transaction, and so one sync of the
/// disk. What only looks comes after them, and needs no lock.
pub(super) fn run(mut connection: Connection, file: &File, queue: Arc<Queue<Box<dyn Job>>>) {
    let queue = Ended(queue);
    while let Some(mut jobs) = queue.0.take() {
        jobs.retain(|job| !job.is_forgotten());
        let (looks, changes) = jobs.into_iter().partition::<Vec<_>, _>(|job| job.kind() == Kind::Look);
        if !changes.is_empty() {
            change(&mut connection, file, changes);
        }
        for mut job in looks {
            let result = job.run(&connection).map_err(StoreError::from);
            job.answer(result);
        }
    }
    // Before the handle learns of the end: the last connection removes the log.
    drop(connection);
}

/// Makes all changes or, if one of them fails, each by itself, so that it fails alone.
fn change(connection: &mut Connection, file: &File, mut jobs: Vec<Box<dyn Job>>) {
    let result = in_one_transaction(connection, file, &mut jobs);
    match result {
        Err(error) if jobs.len() > 1 && !error.is_unavailable() => {
            for job in jobs {
                change(connection, file, vec![job]);
            }
        }
        result => {
            for job in jobs {
                job.answer(result.clone());
            }
        }
    }
}

/// Begins with the lock for writing, for which it waits as long as the connection's busy timeout says.
fn in_one_transaction(
    connection: &mut Connection,
    file: &File,
    jobs: &mut [Box<dyn Job>],
) -> Result<(), StoreError> {
    if !file.is_in_place() {
        return Err(StoreError::moved());
    }
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    for job in jobs {
        job.run(&transaction)?;
    }
    Ok(transaction.commit()?)
}

/// Tells the handles, also if the thread panics.
struct Ended(Arc<Queue<Box<dyn Job>>>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}
