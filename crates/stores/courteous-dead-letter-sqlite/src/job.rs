use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::SqliteError;

/// A request of a handle to the thread.
pub(crate) trait Job: Send {
    fn kind(&self) -> Kind;

    /// Whether the job can be dropped: no caller waits for its answer any more, and without a
    /// caller it need not be done.
    fn is_forgotten(&self) -> bool;

    /// Does the job. Does it once more if it was undone because another job of the same transaction
    /// failed.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;

    /// Sends the result, now that it is durable, or the error.
    fn answer(self: Box<Self>, done: Result<(), SqliteError>);
}

/// The kinds of jobs, in the order in which they are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Changes records for a caller that waits for the answer.
    Claim,
    /// Changes records, even if no caller waits any more.
    Settle,
    /// Adds a letter, even if no caller waits any more.
    Push,
    /// Changes nothing.
    Look,
}

impl Kind {
    const fn is_lasting(self) -> bool {
        matches!(self, Self::Settle | Self::Push)
    }
}

/// A closure, and where its answer goes.
pub(crate) struct Asked<F, T> {
    kind: Kind,
    run: F,
    found: Option<T>,
    answer: oneshot::Sender<Result<T, SqliteError>>,
}

pub(crate) type Answer<T> = oneshot::Receiver<Result<T, SqliteError>>;

impl<F, T> Asked<F, T> {
    pub(crate) fn new(kind: Kind, run: F) -> (Self, Answer<T>) {
        let (answer, receiver) = oneshot::channel();
        let asked = Self {
            kind,
            run,
            found: None,
            answer,
        };
        (asked, receiver)
    }
}

impl<F, T> Job for Asked<F, T>
where
    F: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn kind(&self) -> Kind {
        self.kind
    }

    fn is_forgotten(&self) -> bool {
        !self.kind.is_lasting() && self.answer.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.found = Some((self.run)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, done: Result<(), SqliteError>) {
        let answer = match (done, self.found) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(found)) => Ok(found),
            (Ok(()), None) => return,
        };
        let unheard = self.answer.send(answer);
        #[cfg(feature = "tracing")]
        if let Err(Err(error)) = &unheard
            && self.kind.is_lasting()
        {
            tracing::error!(
                name: "lost",
                target: "courteous::dead_letter_sqlite",
                %error,
                change = match self.kind {
                    Kind::Claim => "claim",
                    Kind::Settle => "settle",
                    Kind::Push => "push",
                    Kind::Look => "look",
                },
                "a change to a dead letter is lost, and no caller waits to be told"
            );
        }
        drop(unheard);
    }
}
