use std::{fmt, future, pin::Pin, sync::Arc};

use crate::{Letter, PushError};

/// A boxed future. The methods of [`Sink`] and [`LetterStore`](crate::LetterStore) return it, so
/// that both can be a `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the letters go.
///
/// # Sharing
///
/// A sink is a handle: an `Arc` of a sink is also a sink.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Takes `letter` in the call itself, so that this works in a `Drop`. The future resolves when
    /// the letter is durable.
    ///
    /// The call neither blocks nor needs a runtime. A sink should have bounded memory; if it is
    /// full, it returns [`PushError::Full`].
    ///
    /// A letter is written once. If the sink already has a letter with this id, that letter is
    /// durable and is left unchanged.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes nothing back. If the letter cannot be kept then, no caller is left
    /// to be told, and the sink reports it in an event.
    ///
    /// # Errors
    ///
    /// The future fails if the letter was not kept.
    fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>>;

    /// Waits until every letter that was pushed before is durable or given up. Call it at the end
    /// of a process.
    ///
    /// The future of [`push`](Self::push) reports a letter that could not be kept. The default
    /// waits for nothing, which is right for a sink whose letters are durable when `push` returns.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::ready(()))
    }
}

impl<S: Sink + ?Sized> Sink for Arc<S> {
    fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        (**self).push(letter)
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        (**self).flush()
    }
}
