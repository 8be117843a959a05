use std::{fmt, sync::Arc};

use tokio::time::Instant;

use crate::{leases::Lease, permits::SharedQueue};

/// The right to be in flight. It is given back when dropped, or taken back after the call's
/// deadline.
pub struct Permit {
    queue: Arc<SharedQueue>,
    lease: Option<Lease>,
}

impl Permit {
    /// Owns a permit that was taken from `queue`, for a call that is over at `end` at the latest.
    #[inline]
    pub(crate) fn new(queue: Arc<SharedQueue>, end: Option<Instant>) -> Self {
        let lease = end.map(|end| queue.shortcut().leases.begin(end));
        Self { queue, lease }
    }

    #[cold]
    fn give_to_queue(&self) {
        self.queue
            .update(|queue, _, _| queue.capacity_mut().give(1));
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        let permits = self.queue.shortcut();
        if let Some(lease) = self.lease
            && !permits.leases.end(lease)
        {
            // The permit was taken back after the deadline.
            return;
        }
        if !permits.slots.try_give() {
            self.give_to_queue();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
