#[cfg(courteous_loom)]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(courteous_loom))]
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stands in place of a number while the number is under the lock.
const LOCKED: usize = usize::MAX;

/// How many permits are free, in one atomic word.
///
/// While no call waits, one exchange of the word takes a permit or gives it back. Code that needs
/// to know more takes the lock, and then the number out of the word ([`lock`](Self::lock)). From
/// that exchange on, every call has to take the lock, until the number is put back
/// ([`unlock`](Self::unlock)). So under the lock there are plain numbers, and no code there depends
/// on the word.
///
/// While a waiter is queued, the word stays locked: a permit that comes back goes to the queue, and
/// no call overtakes it.
///
/// For example, with 2 permits the word goes 2 -> 1 -> 0 as calls take them. A third call takes the
/// lock and joins the queue: the word is `LOCKED`. It becomes a number again when the queue is
/// empty.
#[derive(Debug)]
pub(crate) struct Slots(AtomicUsize);

impl Slots {
    /// `free` permits that any call may take. `usize::MAX` of them are under the lock from the
    /// start.
    pub(crate) fn new(free: usize) -> Self {
        Self(AtomicUsize::new(free))
    }

    /// Takes a permit. Returns `false` if none is free, or if the number is under the lock.
    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        self.change(|free| match free {
            0 | LOCKED => None,
            free => Some(free - 1),
        })
    }

    /// Gives a permit back. Returns `false`, and does nothing, if the number is under the lock.
    #[inline]
    pub(crate) fn try_give(&self) -> bool {
        self.change(|free| (free < LOCKED - 1).then(|| free + 1))
    }

    /// Takes the number of free permits out of the word. `None` if it is already under the lock.
    /// The caller holds the lock, here and in [`unlock`](Self::unlock).
    pub(crate) fn lock(&self) -> Option<usize> {
        // Acquire, so that a call that gets a permit under the lock sees all that happened before
        // the permit was given back without the lock.
        Some(self.0.swap(LOCKED, Ordering::Acquire)).filter(|free| *free != LOCKED)
    }

    /// Puts `free` permits back into the word.
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
