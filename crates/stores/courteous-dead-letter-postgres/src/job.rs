use std::fmt;

use courteous_dead_letter::{BoxFuture, Claim, Claimed, Letter, PushError, StoreError};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot, watch},
    time::Instant,
};

use crate::{error::QueryError, session::Session, settle::Settle};

pub(crate) type Reply<T, E = StoreError> = oneshot::Sender<Result<T, E>>;

/// A request of a handle to the thread.
pub(crate) struct Job {
    pub(crate) ask: Ask,
    /// When to give the job up, if the database is away. The thread sets this by its own clock.
    pub(crate) deadline: Instant,
    /// How often this job met a broken connection or a deadlock.
    pub(crate) tries: u32,
    /// The job's room in the queue.
    _room: Room,
}

/// What a job holds until it is done.
#[derive(Default)]
pub(crate) struct Room {
    pub(crate) _permits: Vec<OwnedSemaphorePermit>,
    /// Only a letter has this. A flush waits until no such receiver is left.
    pub(crate) _pushing: Option<watch::Receiver<()>>,
}

pub(crate) enum Ask {
    /// One statement writes many letters.
    Push(Box<Letter>, Reply<(), PushError>),
    /// One statement writes many outcomes, too.
    Settle(Box<Settle>, Reply<()>),
    /// Claims that are alike become one larger claim.
    Claim(Box<Claim>, Reply<Claimed>),
    /// A question that is asked alone.
    Other(Box<dyn Question>),
}

/// A question that is asked alone.
pub(crate) trait Question: Send {
    /// Whether no caller waits for the answer any more.
    fn is_forgotten(&self) -> bool;

    /// Asks, and keeps the answer. If it fails, it may be asked again.
    fn ask<'a>(&'a mut self, session: &'a Session) -> BoxFuture<'a, Result<(), QueryError>>;

    /// Sends the answer, or the error.
    fn answer(self: Box<Self>, done: Result<(), StoreError>);
}

/// A closure, and where its answer goes.
pub(crate) struct Asked<F, T> {
    ask: F,
    found: Option<T>,
    reply: Reply<T>,
}

impl<F, T> Asked<F, T>
where
    F: for<'a> FnMut(&'a Session) -> BoxFuture<'a, Result<T, QueryError>>,
{
    pub(crate) const fn new(ask: F, reply: Reply<T>) -> Self {
        Self {
            ask,
            found: None,
            reply,
        }
    }
}

impl<F, T> Question for Asked<F, T>
where
    F: for<'a> FnMut(&'a Session) -> BoxFuture<'a, Result<T, QueryError>> + Send,
    T: Send,
{
    fn is_forgotten(&self) -> bool {
        self.reply.is_closed()
    }

    fn ask<'a>(&'a mut self, session: &'a Session) -> BoxFuture<'a, Result<(), QueryError>> {
        Box::pin(async move {
            self.found = Some((self.ask)(session).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, done: Result<(), StoreError>) {
        let answer = match (done, self.found) {
            (Ok(()), Some(found)) => Ok(found),
            (Ok(()), None) => Err(StoreError::Closed),
            (Err(error), _) => Err(error),
        };
        // The caller may have gone.
        drop(self.reply.send(answer));
    }
}

impl Job {
    pub(crate) fn new(ask: Ask, room: Room) -> Self {
        Self {
            ask,
            deadline: Instant::now(),
            tries: 0,
            _room: room,
        }
    }

    /// Marks the job to be tried again, and alone: it may be the cause of the others' failure.
    pub(crate) fn again(mut self) -> Self {
        self.tries += 1;
        self
    }

    pub(crate) fn letter(&self) -> Option<&Letter> {
        match &self.ask {
            Ask::Push(letter, _) => Some(letter),
            _ => None,
        }
    }

    pub(crate) fn outcome(&self) -> Option<&Settle> {
        match &self.ask {
            Ask::Settle(settle, _) => Some(settle),
            _ => None,
        }
    }

    pub(crate) fn claim(&self) -> Option<&Claim> {
        match &self.ask {
            Ask::Claim(claim, _) => Some(claim),
            _ => None,
        }
    }

    /// Whether the job can be dropped: no caller waits for its answer any more, and it changes
    /// nothing for other callers.
    pub(crate) fn is_forgotten(&self) -> bool {
        match &self.ask {
            Ask::Push(..) | Ask::Settle(..) => false,
            Ask::Claim(_, reply) => reply.is_closed(),
            Ask::Other(question) => question.is_forgotten(),
        }
    }

    /// Sends the claimed records. The caller may have gone.
    pub(crate) fn claimed(self, found: Claimed) {
        if let Ask::Claim(_, reply) = self.ask {
            drop(reply.send(Ok(found)));
        }
    }

    /// Tells the caller that the job was done. The caller may have gone.
    pub(crate) fn done(self) {
        match self.ask {
            Ask::Push(_, reply) => drop(reply.send(Ok(()))),
            Ask::Settle(_, reply) => drop(reply.send(Ok(()))),
            Ask::Claim(_, reply) => drop(reply.send(Ok(Claimed::default()))),
            Ask::Other(question) => question.answer(Ok(())),
        }
    }

    /// Tells the caller that the job was not done.
    pub(crate) fn fail(self, error: StoreError) {
        match self.ask {
            Ask::Push(letter, reply) => not_kept(&letter, reply, push_error(error)),
            Ask::Settle(_, reply) => drop(reply.send(Err(error))),
            Ask::Claim(_, reply) => drop(reply.send(Err(error))),
            Ask::Other(question) => question.answer(Err(error)),
        }
    }

    /// Tells the caller that its letter was not kept.
    pub(crate) fn reject(self, error: PushError) {
        if let Ask::Push(letter, reply) = self.ask {
            not_kept(&letter, reply, error);
        }
    }
}

fn push_error(error: StoreError) -> PushError {
    match error {
        StoreError::Failed(source) => PushError::Failed(source),
        StoreError::Closed => PushError::Closed,
        other => PushError::failed(other),
    }
}

/// Tells the caller that its letter was not kept. If the caller has gone, emits the event `lost`.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables))]
fn not_kept(letter: &Letter, reply: Reply<(), PushError>, error: PushError) {
    let told = reply.send(Err(error));
    #[cfg(feature = "tracing")]
    if let Err(Err(error)) = told {
        let error = &error as &dyn std::error::Error;
        tracing::error!(
            name: "lost",
            target: "courteous::dead_letter_postgres",
            id = %letter.id,
            error,
            method = letter.method.as_str(),
            origin = letter.origin().named().map(tracing::field::display),
            "a dead letter is lost: it could not be kept"
        );
    }
    #[cfg(not(feature = "tracing"))]
    drop(told);
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}
