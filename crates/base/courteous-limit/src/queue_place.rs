use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    Shared, Shortcut,
    permit_queue::{Capacity, PermitQueue, QueueTicket, StepTime},
};

/// A call's place in the [`PermitQueue`] of a shared limit. Dropping it gives up the place, and the
/// permit that was promised to it, if any.
pub struct QueuePlace<T, S, C>
where
    T: Send + 'static,
    S: Shortcut<T, Limit = PermitQueue<C>>,
    C: Capacity,
{
    limit: Arc<Shared<T, S>>,
    /// `Some` until the drop.
    place: Option<QueueTicket>,
    /// Whether the waiter is neither queued nor promised a permit: then no other waiter is served
    /// when it leaves.
    apart: bool,
}

impl<T, S, C> QueuePlace<T, S, C>
where
    T: Send + 'static,
    S: Shortcut<T, Limit = PermitQueue<C>>,
    C: Capacity,
{
    /// The place that `limit` has given.
    #[must_use]
    pub const fn new(limit: Arc<Shared<T, S>>, place: QueueTicket) -> Self {
        Self {
            limit,
            place: Some(place),
            apart: false,
        }
    }

    /// The limit.
    #[must_use]
    pub const fn limit(&self) -> &Arc<Shared<T, S>> {
        &self.limit
    }

    /// Waits for a permit, in the queue. The caller then owns the permit. `called` says that the
    /// waiter had a permit before, and gave it back.
    ///
    /// With the permit, the waiter is out of the queue. If it gives the permit back and asks again,
    /// it is queued at the place of its age.
    pub fn poll_permit(&mut self, called: bool, cx: &mut Context<'_>) -> Poll<()> {
        let Some(place) = &self.place else {
            return Poll::Pending;
        };
        // The waker is cloned, and the replaced waker dropped, without the lock.
        let mut waker = Some(cx.waker().clone());
        // Nearly all polls need neither the clock nor the timer.
        let found = (self.limit)
            .attend(|queue, served| queue.poll_cheap(place, called, &mut waker, served));
        self.apart = false;
        let redeemed = found.unwrap_or_else(|| {
            self.limit.join(|queue, now, _| {
                queue.redeem_or_queue(place, called, &mut waker, &mut StepTime::at(now))
            })
        });
        if !redeemed {
            return Poll::Pending;
        }
        self.apart = true;
        Poll::Ready(())
    }
}

impl<T, S, C> Drop for QueuePlace<T, S, C>
where
    T: Send + 'static,
    S: Shortcut<T, Limit = PermitQueue<C>>,
    C: Capacity,
{
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let waker = match self.apart {
            true => self.limit.with(|queue| queue.leave(place)),
            false => self.limit.update(|queue, _, _| queue.leave(place)),
        };
        drop(waker);
    }
}

impl<T, S, C> fmt::Debug for QueuePlace<T, S, C>
where
    T: Send + 'static,
    S: Shortcut<T, Limit = PermitQueue<C>>,
    C: Capacity,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuePlace").finish_non_exhaustive()
    }
}
