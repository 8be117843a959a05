use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use courteous_core::{RejectReason, Rejected, timer};
use courteous_limit::{PermitQueue, QueuePlace, QueueTicket, Turn};
use tokio::time::{Instant, Sleep};

use crate::{
    permit::{Permit, change},
    permits::{Core, Permits},
};

/// The turn of a call that waits for a permit.
pub(crate) struct PermitTurn {
    place: QueuePlace<PermitQueue<Permits>, (), Permits>,
    /// The permit, between its turn and the call.
    permit: Option<Permit>,
    /// Whether it had a permit before, and gave it back.
    called: bool,
    /// The end of the wait.
    latest: Option<Instant>,
    /// The timer for that end; created when the first wait begins.
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
}

impl PermitTurn {
    pub(crate) const fn new(
        core: Arc<Core>,
        ticket: QueueTicket,
        latest: Option<Instant>,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            place: QueuePlace::new(core, ticket),
            permit: None,
            called: false,
            latest,
            sleep: None,
            deadline,
        }
    }

    /// The permit of the call that is made now.
    pub(crate) const fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    fn is_over(&self) -> bool {
        self.latest.is_some_and(|latest| latest <= Instant::now())
    }

    fn rejected(&self) -> Rejected {
        change(self.place.limit(), |permits, _| permits.rejected += 1);
        Rejected::new(RejectReason::Overloaded)
    }

    fn poll_latest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(latest) = self.latest else {
            return Poll::Pending;
        };
        if self.sleep.is_none() {
            self.sleep = timer(latest).map(Box::pin).ok();
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None if latest <= Instant::now() => Poll::Ready(()),
            None => {
                // Without a runtime, the call is polled again and again, as the queue itself is.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Turn for PermitTurn {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        let this = self.get_mut();
        if this.permit.is_some() {
            return Poll::Ready(Ok(()));
        }
        if this.place.poll_permit(this.called, cx).is_pending() {
            return this.poll_latest(cx).map(|()| Err(this.rejected()));
        }
        let core = Arc::clone(this.place.limit());
        this.permit = Some(Permit::new(core, this.deadline));
        this.called = true;
        if this.is_over() {
            // The call was polled too late. Its permit was never used.
            this.permit = None;
            return Poll::Ready(Err(this.rejected()));
        }
        Poll::Ready(Ok(()))
    }

    fn spend(self: Pin<&mut Self>) -> bool {
        match &mut self.get_mut().permit {
            Some(permit) => {
                permit.send();
                true
            }
            None => false,
        }
    }

    fn pass(self: Pin<&mut Self>) {
        self.get_mut().permit = None;
    }
}
