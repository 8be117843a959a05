use courteous_core::Rejected;
use courteous_queue::Ticket;

/// What a waiter finds.
pub(crate) enum Find {
    Granted,
    Waiting,
    Refused(Rejected),
}

/// What one who asks finds.
pub(crate) enum Answer {
    Taken,
    Queued(Ticket),
    Refused(Rejected),
}
