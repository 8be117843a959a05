use courteous_limit::{Capacity, PermitQueue, QueuePlace, Shared, Shortcut, StepTime, Taken};

use crate::{leases::Leases, slots::Slots};

/// The state of one limit, shared by its handles, its permits and its waiters: the queue behind a
/// lock, and the permits that are taken and given back without the lock.
pub(crate) type SharedQueue = Shared<LimitQueue, Permits>;

/// The permits that the lock has, and the waiters.
pub(crate) type LimitQueue = PermitQueue<FixedCapacity>;

/// A waiter's place in the queue.
pub(crate) type LimitPlace = QueuePlace<LimitQueue, Permits, FixedCapacity>;

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

impl Shortcut<LimitQueue> for Permits {
    type Limit = LimitQueue;

    fn close<'a>(&self, queue: &'a mut LimitQueue) -> &'a mut LimitQueue {
        if let Some(free) = self.slots.lock() {
            queue.capacity_mut().set_free(free);
        }
        queue
    }

    /// Unless a call is in the queue, or more permits are taken than there are.
    fn open(&self, queue: &mut LimitQueue) {
        if queue.is_empty()
            && let Some(free) = queue.capacity().free()
        {
            self.slots.unlock(free);
        }
    }
}

/// A number of permits, and how many of them are taken.
#[derive(Debug)]
pub(crate) struct FixedCapacity {
    limit: usize,
    /// Permits that calls hold, or that are promised to waiters. More than `limit` only after the
    /// limit was lowered, or by calls that are only observed.
    taken: usize,
}

impl FixedCapacity {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, taken: 0 }
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) const fn taken(&self) -> usize {
        self.taken
    }

    /// Sets the number of free permits, as the word in front of the lock says.
    const fn set_free(&mut self, free: usize) {
        self.taken = self.limit - free;
    }

    /// `None` if more permits are taken than there are.
    const fn free(&self) -> Option<usize> {
        self.limit.checked_sub(self.taken)
    }

    /// How many permits are taken beyond the limit.
    pub(crate) const fn excess(&self) -> usize {
        self.taken.saturating_sub(self.limit)
    }

    /// Takes a permit, also beyond the limit.
    pub(crate) const fn take_beyond(&mut self) {
        self.taken += 1;
    }

    /// Takes back permits that calls held.
    pub(crate) const fn give(&mut self, permits: usize) {
        self.taken -= permits;
    }
}

impl Capacity for FixedCapacity {
    fn take(&mut self, _: &mut StepTime) -> Taken {
        if self.taken >= self.limit {
            return Taken::None;
        }
        self.taken += 1;
        Taken::Permit
    }

    fn give_back(&mut self, permits: usize) {
        self.give(permits);
    }
}

/// The number of permits that calls hold. Promised ones are neither free nor held.
pub(crate) const fn held(queue: &LimitQueue) -> usize {
    queue.capacity().taken() - queue.promised()
}

/// Whether no permit is taken and no call waits.
pub(crate) const fn is_idle(queue: &LimitQueue) -> bool {
    queue.capacity().taken() == 0 && queue.waiting() == 0
}

/// Changes the limit. Promises above it are withdrawn; their waiters are already woken, and are
/// queued by their age when they are polled.
pub(crate) fn set_limit(queue: &mut LimitQueue, limit: usize) {
    queue.capacity_mut().limit = limit;
    while queue.capacity().excess() > 0 && queue.withdraw_any() {
        queue.capacity_mut().give(1);
    }
}
