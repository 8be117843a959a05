use tokio::time::Instant;

use crate::Wakes;

/// What a limit does for its waiters.
pub trait Serve: Send + 'static {
    /// Serves every waiter whose turn has come by `now`, and returns what the next waiter waits
    /// for.
    ///
    /// This is called under the lock. If the returned instant is not later than `now`, `serve` is
    /// called again.
    fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> Next;

    /// Wakes all waiters, because no runtime is left whose timer could serve them. Each waiter must
    /// then [`join`](crate::Shared::join) again, on its own runtime.
    fn rouse(&mut self, wakes: &mut Wakes);
}

/// What the waiters of a limit wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is nothing else to wait for")]
pub enum Next {
    /// An instant.
    At(Instant),
    /// Something that comes with an [`update`](crate::Shared::update). No timer is set, but the runtimes
    /// of the waiting tasks are remembered. That update may come from a thread without a runtime,
    /// and may ask for an instant.
    Event,
    /// Nothing: the limit has no waiter. The runtimes are let go.
    Nothing,
}
