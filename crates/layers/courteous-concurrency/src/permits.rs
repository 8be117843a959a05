use courteous_limit::{Shared, Shortcut};

use crate::{leases::Leases, permit_queue::Line, slots::Slots};

/// The state of one limit, shared by its handles, its permits and its waiters: the queue behind a
/// lock, and the permits that are taken and given back without the lock.
pub(crate) type Core = Shared<Line, Permits>;

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

impl Shortcut<Line> for Permits {
    type Limit = Line;

    fn close<'a>(&self, line: &'a mut Line) -> &'a mut Line {
        if let Some(free) = self.slots.lock() {
            line.set_free(free);
        }
        line
    }

    /// Unless a call is in the queue.
    fn open(&self, line: &mut Line) {
        if let Some(free) = line.free() {
            self.slots.unlock(free);
        }
    }
}
