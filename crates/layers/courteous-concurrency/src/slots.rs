#[cfg(courteous_loom)]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(courteous_loom))]
use std::sync::atomic::{AtomicUsize, Ordering};

/// In place of a number: that is with the lock.
const LOCKED: usize = usize::MAX;

/// How many permits are free, in one atomic word.
///
/// One exchange of the word takes a permit or gives it back, as long as nobody waits for one. Whoever
/// needs to know more takes the lock, and the word with it ([`lock`](Self::lock)): from that exchange
/// on, everybody else has to come to the lock, too, until the word is left to them
/// ([`unlock`](Self::unlock)). So under the lock there are plain numbers, and nothing that happens
/// there has to know of the word. While somebody stands in the line, the word stays with the lock: a
/// permit that comes back goes to whoever waits for it, and nobody passes him.
#[derive(Debug)]
pub(crate) struct Slots(AtomicUsize);

impl Slots {
    /// `free` permits, for everybody; with the lock if they are as many as can be counted.
    pub(crate) fn new(free: usize) -> Self {
        Self(AtomicUsize::new(free))
    }

    /// Takes a permit, unless none is free, or the lock must be asked.
    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        self.change(|free| match free {
            0 | LOCKED => None,
            free => Some(free - 1),
        })
    }

    /// Gives a permit back, unless the lock must be asked.
    #[inline]
    pub(crate) fn try_give(&self) -> bool {
        self.change(|free| (free < LOCKED - 1).then(|| free + 1))
    }

    /// How many are free, which is with the lock from now on; `None` if it already is. Under the lock,
    /// as what follows.
    pub(crate) fn lock(&self) -> Option<usize> {
        // Acquire, so that whoever gets a permit under the lock sees all that happened before it was
        // given back without.
        Some(self.0.swap(LOCKED, Ordering::Acquire)).filter(|free| *free != LOCKED)
    }

    /// Leaves `free` permits to everybody.
    pub(crate) fn unlock(&self, free: usize) {
        self.0.store(free, Ordering::Release);
    }

    #[inline]
    fn change(&self, f: impl FnMut(usize) -> Option<usize>) -> bool {
        // Acquire, so that a call that got a permit sees all that happened before the permit was
        // given back.
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, f)
            .is_ok()
    }
}

#[cfg(all(test, not(courteous_loom)))]
mod tests {
    use super::*;

    #[test]
    fn as_many_permits_as_are_free_can_be_taken() {
        let slots = Slots::new(2);
        assert!(slots.try_take() && slots.try_take());
        assert!(!slots.try_take());
        assert!(slots.try_give());
        assert_eq!(slots.lock(), Some(1));
    }

    #[test]
    fn nothing_is_taken_or_given_while_the_lock_has_the_word() {
        let slots = Slots::new(1);
        assert_eq!(slots.lock(), Some(1));
        assert_eq!(slots.lock(), None);
        assert!(!slots.try_take() && !slots.try_give());
        slots.unlock(1);
        assert!(slots.try_take());
    }

    #[test]
    fn no_number_of_permits_looks_like_the_lock() {
        let slots = Slots::new(usize::MAX - 2);
        assert!(slots.try_give());
        assert!(!slots.try_give());
        assert_eq!(slots.lock(), Some(usize::MAX - 1));
    }
}
