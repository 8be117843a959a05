use std::task::Waker;

use courteous_core::RejectReason;
use tokio::time::Instant;

/// One who waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) waker: Option<Waker>,
    pub(crate) state: State,
    pub(crate) cost: u32,
    pub(crate) retried: bool,
    /// Until when it waits at the longest, and why no longer.
    pub(crate) latest: Option<(Instant, RejectReason)>,
    /// It is not let through before this, after the bucket was closed.
    pub(crate) release: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the line.
    Waiting,
    /// Tokens are set aside for it.
    Granted,
    /// It gave its tokens back, and will come again.
    Away,
    /// It was refused; `Rejected` states the time from when it is told.
    Refused(RejectReason, Instant),
}
