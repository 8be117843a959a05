use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use courteous_queue::Shortcut;

use crate::{line::Line, slots::Slots};

/// The permits of a limiter, without its lock while nobody stands in the line.
#[derive(Debug)]
pub(crate) struct FastPath {
    slots: Slots,
    /// The limit as of when the lock was left last.
    limit: AtomicUsize,
    /// Raised whenever no permit may be out any more, if anybody wants to know.
    went_idle: Option<Arc<AtomicBool>>,
}

impl FastPath {
    pub(crate) fn new(limit: usize, went_idle: Option<Arc<AtomicBool>>) -> Self {
        Self {
            slots: Slots::new(limit),
            limit: AtomicUsize::new(limit),
            went_idle,
        }
    }

    /// Takes a permit, if one is free and nobody waits.
    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        self.slots.try_take()
    }

    /// Gives a permit back, if nobody waits for it.
    #[inline]
    pub(crate) fn try_give(&self) -> bool {
        let given = self.slots.try_give();
        if given {
            self.signal();
        }
        given
    }

    #[inline]
    fn signal(&self) {
        if let Some(went_idle) = &self.went_idle
            && self.slots.free() == Some(self.limit.load(Ordering::Relaxed))
        {
            went_idle.store(true, Ordering::Release);
        }
    }
}

impl Shortcut<Line> for FastPath {
    type Limit = Line;

    fn close<'a>(&self, line: &'a mut Line) -> &'a mut Line {
        if let Some(free) = self.slots.lock() {
            line.resume(free);
        }
        line
    }

    fn open(&self, line: &mut Line) {
        self.limit.store(line.limit(), Ordering::Relaxed);
        if let Some(free) = line.at_rest() {
            self.slots.unlock(free);
        }
        if let Some(went_idle) = &self.went_idle
            && line.is_idle()
        {
            went_idle.store(true, Ordering::Release);
        }
    }
}
