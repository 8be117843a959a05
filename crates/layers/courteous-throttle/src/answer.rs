use courteous_core::{Ask, Rejected};
use courteous_queue::Ticket;
use tokio::time::Instant;

/// What a waiter finds.
pub(crate) enum Find {
    Granted,
    /// Granted, but others go first who are woken already: it is to be woken behind them.
    Early,
    Waiting,
    /// Granted, but a quota that its call counts against is used up until then. It leaves the queue.
    Held(Instant, Ask),
    Refused(Rejected),
}

/// What one finds who cannot be let through at once.
pub(crate) enum Entry {
    Place(Ticket),
    /// It waits outside of the queue, as a quota that its call counts against is used up, or to be spread.
    Held(Instant),
    Refused(Rejected),
}
