use std::task::Waker;

use courteous_core::RejectReason;
use tokio::time::Instant;

use crate::leased::Held;

/// A call that waits in the queue.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) waker: Option<Waker>,
    pub(crate) state: State,
    pub(crate) cost: u32,
    pub(crate) retried: bool,
    /// The latest time until which it waits, and the reason for its refusal after that.
    pub(crate) latest: Option<(Instant, RejectReason)>,
}

impl Waiter {
    /// Keeps `waker`, and leaves the waker that it replaces in its place.
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
    /// It is in the queue.
    Waiting,
    /// It may send.
    Granted(Grant),
    /// It gave its grant back, and will be polled again.
    Away,
    /// It was refused. The instant is the earliest at which it could have been sent.
    Rejected(RejectReason, Instant),
}

/// The tokens that a waiter was granted. It gives them back if it does not use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Slots, and how many times the bucket had been closed when they were set aside.
    Slots(Held, u32),
    /// Tokens from this worker's own share.
    Local(u32),
    /// Nothing is limited while Redis is away.
    Free,
}
