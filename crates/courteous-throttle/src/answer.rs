use courteous_core::Rejected;
use courteous_queue::Ticket;

/// What a waiter finds.
pub(crate) enum Find {
    Granted,
    /// Granted, but others go first who are woken already: it is to be woken behind them.
    Early,
    Waiting,
    Refused(Rejected),
}

/// What one finds who cannot be let through at once.
pub(crate) enum Entry {
    Place(Ticket),
    Refused(Rejected),
}
