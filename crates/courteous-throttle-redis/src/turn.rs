use std::{
    pin::Pin,
    task::{Context, Poll},
};

use courteous_core::{Rejected, Turn};
use courteous_queue::Ticket;
use tokio::time::Instant;

use crate::{RedisBucket, core::Find};

/// A place in a [`RedisBucket`]'s queue.
#[derive(Debug)]
pub struct RedisTurn {
    bucket: RedisBucket,
    /// `None` once it is spent.
    ticket: Option<Ticket>,
}

impl RedisTurn {
    pub(crate) const fn new(bucket: RedisBucket, ticket: Ticket) -> Self {
        Self {
            bucket,
            ticket: Some(ticket),
        }
    }
}

impl Turn for RedisTurn {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        let this = self.get_mut();
        let Some(ticket) = &this.ticket else {
            return Poll::Ready(Ok(()));
        };
        let shared = &this.bucket.shared;
        // One that was woken needs neither the clock nor the timer.
        if shared.with(|core| core.is_granted(ticket)) {
            return Poll::Ready(Ok(()));
        }
        // Cloned, and what it replaces dropped, without the lock.
        let mut waker = Some(cx.waker().clone());
        let found = shared.join(|core, now, wakes| core.find(ticket, &mut waker, now, wakes));
        match found {
            Find::Granted => Poll::Ready(Ok(())),
            Find::Waiting => {
                this.bucket.link.ensure_task();
                Poll::Pending
            }
            Find::Refused(rejected) => Poll::Ready(Err(rejected)),
        }
    }

    fn spend(self: Pin<&mut Self>) -> bool {
        let this = self.get_mut();
        let ticket = &mut this.ticket;
        let (spent, waker) = this.bucket.shared.with(|core| {
            let now = Instant::now();
            let spent = ticket
                .as_ref()
                .is_some_and(|ticket| core.spend(ticket, now));
            let ticket = spent.then(|| ticket.take()).flatten();
            (
                spent,
                ticket.and_then(|ticket| core.leave(ticket, true, now)),
            )
        });
        drop(waker);
        spent
    }

    fn pass(self: Pin<&mut Self>) {
        let this = self.get_mut();
        if let Some(ticket) = &this.ticket {
            this.bucket
                .shared
                .update(|core, now, _| core.pass(ticket, now));
        }
    }
}

impl Drop for RedisTurn {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let shared = &self.bucket.shared;
            let waker = shared.update(|core, now, _| core.leave(ticket, false, now));
            drop(waker);
        }
    }
}
