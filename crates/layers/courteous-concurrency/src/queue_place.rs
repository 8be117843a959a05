use std::{
    sync::Arc,
    task::{Context, Poll},
};

use courteous_limit::Ticket;
use tokio::time::Instant;

use crate::{permit::Permit, permits::SharedQueue};

/// A waiter's place in the queue. Dropping it gives up the place, and the permit that was promised
/// to it, if any.
pub(crate) struct QueuePlace {
    queue: Arc<SharedQueue>,
    /// `Some` until the drop.
    ticket: Option<Ticket>,
    /// When the call is over at the latest, whatever its outcome.
    end: Option<Instant>,
    /// Whether the waiter is neither queued nor promised a permit: then no other waiter is served
    /// when it leaves.
    apart: bool,
}

impl QueuePlace {
    pub(crate) const fn new(queue: Arc<SharedQueue>, ticket: Ticket, end: Option<Instant>) -> Self {
        Self {
            queue,
            ticket: Some(ticket),
            end,
            apart: false,
        }
    }

    /// Waits for a permit, in the queue. `called` says that the waiter had a permit before, and
    /// dropped it.
    ///
    /// With the permit, the waiter is out of the queue. If it drops the permit and asks again, it
    /// is queued at the place of its age.
    pub(crate) fn poll_permit(&mut self, called: bool, cx: &mut Context<'_>) -> Poll<Permit> {
        let Some(ticket) = &self.ticket else {
            return Poll::Pending;
        };
        let queue = &self.queue;
        // The waker is cloned, and the replaced waker dropped, without the lock.
        let mut waker = Some(cx.waker().clone());
        // Nearly all polls need neither the clock nor the timer.
        let found =
            queue.attend(|queue, served| queue.poll_cheap(ticket, called, &mut waker, served));
        self.apart = false;
        let redeemed = found.unwrap_or_else(|| {
            queue.join(|queue, _, _| queue.redeem_or_queue(ticket, called, &mut waker))
        });
        if !redeemed {
            return Poll::Pending;
        }
        self.apart = true;
        Poll::Ready(Permit::new(Arc::clone(&self.queue), self.end))
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let waker = match self.apart {
            true => self.queue.with(|queue| queue.leave(ticket)),
            false => self.queue.update(|queue, _, _| queue.leave(ticket)),
        };
        drop(waker);
    }
}
