use courteous_core::Rejected;
use courteous_limit::Ask;
use courteous_limit::Ticket;
use tokio::time::Instant;

/// The outcome of a waiter's poll.
pub(crate) enum PollOutcome {
    Granted,
    /// Granted, but older waiters that are already woken go first. This waiter is to be woken
    /// behind them.
    Early,
    Waiting,
    /// Granted, but a quota that its call counts against is used up until this instant. The waiter
    /// leaves the queue.
    Held(Instant, Ask),
    Rejected(Rejected),
}

/// What becomes of a call that cannot be let through at once.
pub(crate) enum Entry {
    Place(Ticket),
    /// It waits outside of the queue, because a quota that its call counts against is used up, or
    /// is to be spread.
    Held(Instant),
    Rejected(Rejected),
}
