#[cfg(courteous_loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(courteous_loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// The instant before which none of many leases ends, without their locks.
///
/// A lease is noted after it can be seen under its lock, and a search begins by forgetting what was noted. So a search that
/// comes too early for a lease has forgotten before it is noted, and none is missed.
#[derive(Debug)]
pub(crate) struct Soonest(AtomicU64);

impl Soonest {
    /// No lease ends.
    pub(crate) const NEVER: u64 = u64::MAX;

    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(Self::NEVER))
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// A lease ends at `end`.
    #[inline]
    pub(crate) fn note(&self, end: u64) {
        if end < self.get() {
            self.0.fetch_min(end, Ordering::SeqCst);
        }
    }

    /// All leases are about to be looked at.
    pub(crate) fn forget(&self) {
        self.0.store(Self::NEVER, Ordering::SeqCst);
    }
}
