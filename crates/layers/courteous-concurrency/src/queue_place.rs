use std::{
    sync::Arc,
    task::{Context, Poll},
};

use courteous_limit::Ticket;
use tokio::time::Instant;

use crate::{permit::Permit, permits::Core};

/// A waiter's place in the queue. Dropping it gives up the place, and the permit that was promised
/// to it, if any.
pub(crate) struct Place {
    core: Arc<Core>,
    /// `Some` until the drop.
    ticket: Option<Ticket>,
    /// When the call is over at the latest, whatever its outcome.
    end: Option<Instant>,
    /// Whether the waiter is neither queued nor promised a permit: then no other waiter is served
    /// when it leaves.
    apart: bool,
}

impl Place {
    pub(crate) const fn new(core: Arc<Core>, ticket: Ticket, end: Option<Instant>) -> Self {
        Self {
            core,
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
        let line = &self.core;
        // The waker is cloned, and the replaced waker dropped, without the lock.
        let mut waker = Some(cx.waker().clone());
        // Nearly all polls need neither the clock nor the timer.
        let found = line.attend(|line, served| line.glance(ticket, called, &mut waker, served));
        self.apart = false;
        let redeemed = found.unwrap_or_else(|| {
            line.join(|line, _, _| line.redeem_or_stand(ticket, called, &mut waker))
        });
        if !redeemed {
            return Poll::Pending;
        }
        self.apart = true;
        Poll::Ready(Permit::new(Arc::clone(&self.core), self.end))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let waker = match self.apart {
            true => self.core.with(|line| line.leave(ticket)),
            false => self.core.update(|line, _, _| line.leave(ticket)),
        };
        drop(waker);
    }
}
