use std::{fmt, future, pin::Pin, sync::Arc};

use crate::{Letter, PushError};

/// A future on the heap: what the methods of [`Sink`] and [`LetterStore`](crate::LetterStore) return, so that both can be a `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the letters go.
///
/// # Sharing
///
/// A sink is a handle: an `Arc` of one is a sink as well.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Takes `letter` over in the call itself, so that this works in a `Drop`; the future resolves when the letter is durable.
    ///
    /// It neither blocks nor needs a runtime to be called. A sink whose memory is bounded, as it should be, and which is full
    /// says so by [`PushError::Full`].
    ///
    /// A letter is written once: one whose id the sink has already is durable as it is, and is left so.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes nothing back. If the letter cannot be kept then, there is nobody to be told: the sink says it
    /// in an event.
    ///
    /// # Errors
    ///
    /// The future's: the letter was not kept.
    fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>>;

    /// Waits until every letter that was pushed before is durable, or given up: for the end of a process.
    ///
    /// A letter that could not be kept is told by the future of its [`push`](Self::push). The default waits for nothing, which is
    /// right for a sink whose letters are durable when `push` returns.
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
