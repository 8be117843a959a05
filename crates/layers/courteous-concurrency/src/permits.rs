use courteous_limit::{Shared, Shortcut};

use crate::{leases::Leases, permit_queue::PermitQueue, slots::Slots};

/// The state of one limit, shared by its handles, its permits and its waiters: the queue behind a
/// lock, and the permits that are taken and given back without the lock.
pub(crate) type SharedQueue = Shared<PermitQueue, Permits>;

/// What is known about the permits without the lock.
pub(crate) struct Permits {
    pub(crate) slots: Slots,
    pub(crate) leases: Leases,
}

impl Permits {
    /// `free` permits, which any call may take.
    pub(crate) fn new(free: usize) -> Self {
        Self {
            slots: Slots::new(free),
            leases: Leases::new(),
        }
    }
}

impl Shortcut<PermitQueue> for Permits {
    type Limit = PermitQueue;

    fn close<'a>(&self, queue: &'a mut PermitQueue) -> &'a mut PermitQueue {
        if let Some(free) = self.slots.lock() {
            queue.set_free(free);
        }
        queue
    }

    /// Unless a call is in the queue.
    fn open(&self, queue: &mut PermitQueue) {
        if let Some(free) = queue.free() {
            self.slots.unlock(free);
        }
    }
}
