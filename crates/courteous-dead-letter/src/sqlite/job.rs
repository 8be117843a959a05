use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::StoreError;

/// Something that a handle wants from the thread.
pub(super) trait Job: Send {
    fn kind(&self) -> Kind;

    /// Nobody waits for the answer any more.
    fn is_forgotten(&self) -> bool;

    /// Does it. What was done is undone, and is done again, if another one of the same transaction fails.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;

    /// Tells what came of it, now that it is durable, or why it is not.
    fn answer(self: Box<Self>, result: Result<(), StoreError>);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes what is kept, even if nobody waits for it any more.
    Change,
    /// Changes what is kept for the one who waits.
    Claim,
    /// Changes nothing.
    Look,
}

/// A closure, and where its answer goes.
pub(super) struct Asked<F, T> {
    kind: Kind,
    run: F,
    found: Option<T>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

pub(super) type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

impl<F, T> Asked<F, T> {
    pub(super) fn new(kind: Kind, run: F) -> (Self, Answer<T>) {
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
        self.kind != Kind::Change && self.answer.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.found = Some((self.run)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), StoreError>) {
        let answer = match (result, self.found) {
            (Ok(()), Some(found)) => Ok(found),
            (Ok(()), None) => return,
            (Err(error), _) => Err(error),
        };
        // Whoever asked may have gone.
        drop(self.answer.send(answer));
    }
}
