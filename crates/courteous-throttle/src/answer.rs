use courteous_core::Rejected;
use courteous_queue::Ticket;

/// What a waiter finds.
pub(crate) enum Find {
    Granted,
    Waiting,
    Refused(Rejected),
}

/// What one finds who cannot be let through at once.
pub(crate) enum Entry {
    Place(Ticket),
    Refused(Rejected),
}
