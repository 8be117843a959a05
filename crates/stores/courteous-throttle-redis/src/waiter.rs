use std::task::Waker;

use courteous_core::RejectReason;
use tokio::time::Instant;

use crate::leased::Held;

/// One who waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) waker: Option<Waker>,
    pub(crate) state: State,
    pub(crate) cost: u32,
    pub(crate) retried: bool,
    /// Until when it waits at the longest, and why no longer.
    pub(crate) latest: Option<(Instant, RejectReason)>,
}

impl Waiter {
    /// Keeps `waker`, and leaves the one in its place that it replaces.
    ///
    /// The caller clones and drops wakers without the lock: both may run any code, such as another
    /// call of this bucket.
    pub(crate) fn keep(&mut self, waker: &mut Option<Waker>) {
        let known = match (&self.waker, &*waker) {
            (Some(kept), Some(waker)) => kept.will_wake(waker),
            _ => false,
        };
        if !known {
            std::mem::swap(&mut self.waker, waker);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the queue.
    Waiting,
    /// It may send.
    Granted(Grant),
    /// It gave back what it had, and will come again.
    Away,
    /// It was refused; the instant is the earliest at which it could have been sent.
    Rejected(RejectReason, Instant),
}

/// What a waiter was given, and gives back if it does not use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Slots, leased while the bucket had been closed so many times.
    Slots(Held, u32),
    /// From this worker's own share.
    Local(u32),
    /// Nothing is limited while Redis is away.
    Free,
}
