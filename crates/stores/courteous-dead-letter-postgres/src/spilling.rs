//! What the thread does with letters that cannot be written to the database now.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use courteous_dead_letter::{Letter, LetterId};
use tokio::time::Instant;

use crate::{
    error::QueryError,
    insert::insert,
    job::Job,
    session::Session,
    waiting::BATCH,
    worker::{Lost, Worker},
};

/// How long spilled letters are left alone after they could not be handed over.
const REST: Duration = Duration::from_secs(5);

impl Worker {
    /// Keeps the letters of `batch` on this machine, and fails its other jobs.
    pub(crate) async fn spill_over(&mut self, batch: Vec<Job>, failure: &QueryError) {
        let Some(spill) = &mut self.spill else {
            batch
                .into_iter()
                .for_each(|job| job.fail(failure.to_error()));
            return;
        };
        let (pushes, others) = batch
            .into_iter()
            .partition::<Vec<_>, _>(|job| job.letter().is_some());
        others
            .into_iter()
            .for_each(|job| job.fail(failure.to_error()));
        let letters = pushes.iter().filter_map(Job::letter).cloned().collect();
        let kept = spill.keep(letters).await;
        for (job, kept) in pushes.into_iter().zip(kept) {
            match kept {
                Ok(()) => job.done(),
                Err(error) => {
                    self.gauge.rejected.fetch_add(1, Relaxed);
                    job.reject(error);
                }
            }
        }
    }

    /// Hands over some of the spilled letters.
    pub(crate) async fn drain(&mut self, session: &Session) -> Result<(), Lost> {
        let Some(spill) = &mut self.spill else {
            return Ok(());
        };
        let Ok(letters) = spill.next(self.drained, BATCH as u32).await else {
            self.rest();
            return Ok(());
        };
        let Some(last) = letters.last().map(|letter| letter.id) else {
            // This is the end. The letters that are left were refused by the database, or are not
            // there any more.
            drop(spill.recount().await);
            self.drained = None;
            self.rest();
            return Ok(());
        };
        let handed_over = match insert_some(session, &letters).await {
            Ok(ids) => ids,
            Err(QueryError::Away(_)) => return Err(Lost),
            Err(_) => {
                self.rest();
                return Ok(());
            }
        };
        let forgotten = spill.forget(&handed_over).await;
        self.drained = (spill.count() > 0).then_some(last);
        if forgotten.is_err() {
            self.rest();
        }
        Ok(())
    }

    /// Leaves the spilled letters alone for a while.
    pub(crate) fn rest(&mut self) {
        self.drain_at = Instant::now() + REST;
    }

    pub(crate) fn is_spilled(&self) -> bool {
        self.spill.as_ref().is_some_and(|spill| spill.count() > 0)
    }

    pub(crate) fn is_drain_due(&self) -> bool {
        self.is_spilled() && Instant::now() >= self.drain_at
    }
}

/// Writes letters, all at once if that is possible. Returns the ids of the letters that were not
/// refused.
async fn insert_some(session: &Session, letters: &[Letter]) -> Result<Vec<LetterId>, QueryError> {
    let all: Vec<_> = letters.iter().collect();
    match insert(session, &all).await {
        Err(failure @ QueryError::Refused(_)) if !failure.is_of_all() => {}
        done => return done.map(|()| letters.iter().map(|letter| letter.id).collect()),
    }
    let mut ids = Vec::new();
    for letter in letters {
        match insert(session, &[letter]).await {
            Ok(()) => ids.push(letter.id),
            Err(QueryError::Refused(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(ids)
}
