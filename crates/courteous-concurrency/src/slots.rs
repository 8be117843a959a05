#[cfg(courteous_loom)]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(courteous_loom))]
use std::sync::atomic::{AtomicUsize, Ordering};

/// Set while somebody may stand in the line.
const WAITED_FOR: usize = 1;
/// One permit that is out.
const ONE: usize = 2;

/// How many permits are out, and whether anybody stands in the line for one, in one atomic word.
///
/// Without a line, a permit is taken and given back by one exchange of the word. With one,
/// everybody has to go through the lock of the line. What makes that correct: the flag is set in
/// the same exchange that sees that nothing is free ([`take_or_wait`]), and cleared under the same
/// lock once the line is empty. So no permit comes back after that look without its giver having
/// seen the flag, which sends it to the lock, behind whoever is joining the line.
///
/// [`take_or_wait`]: Slots::take_or_wait
#[derive(Debug)]
pub(crate) struct Slots {
    word: AtomicUsize,
    /// Changed under the lock only. Whoever reads an old value without the lock began before the
    /// change was made; and whoever finds nothing free looks again under the lock.
    limit: AtomicUsize,
}

impl Slots {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            word: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        }
    }

    #[inline]
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many permits are out.
    #[inline]
    pub(crate) fn taken(&self) -> usize {
        self.word.load(Ordering::Acquire) / ONE
    }

    /// Takes a permit if there is one and nobody stands in the line.
    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        self.change(|word| (word & WAITED_FOR == 0 && self.is_free(word)).then_some(word + ONE))
    }

    /// Gives a permit back, unless somebody stands in the line for it.
    #[inline]
    pub(crate) fn try_give(&self) -> bool {
        self.change(|word| (word & WAITED_FOR == 0).then(|| word - ONE))
    }

    /// Takes a permit if there is one. Under the lock, as all that follow.
    pub(crate) fn take(&self) -> bool {
        self.change(|word| self.is_free(word).then_some(word + ONE))
    }

    /// Takes a permit if there is one; else, in the same instant, states that somebody waits for
    /// one.
    pub(crate) fn take_or_wait(&self) -> bool {
        let mut taken = false;
        self.change(|word| {
            taken = self.is_free(word);
            Some(if taken { word + ONE } else { word | WAITED_FOR })
        });
        taken
    }

    /// Gives `permits` back.
    pub(crate) fn give(&self, permits: usize) {
        self.word.fetch_sub(permits * ONE, Ordering::Release);
    }

    /// States that nobody stands in the line.
    pub(crate) fn nobody_waits(&self) {
        self.word.fetch_and(!WAITED_FOR, Ordering::Release);
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    #[inline]
    fn is_free(&self, word: usize) -> bool {
        word / ONE < self.limit()
    }

    #[inline]
    fn change(&self, f: impl FnMut(usize) -> Option<usize>) -> bool {
        // Acquire, so that a call that got a permit sees all that happened before the permit was
        // given back.
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, f)
            .is_ok()
    }
}

#[cfg(all(test, not(courteous_loom)))]
mod tests {
    use super::*;

    #[test]
    fn as_many_permits_as_the_limit_can_be_taken() {
        let slots = Slots::new(2);
        assert!(slots.try_take() && slots.take());
        assert!(!slots.try_take() && !slots.take());
        assert_eq!(slots.taken(), 2);
        assert!(slots.try_give());
        assert!(slots.try_take());
    }

    #[test]
    fn a_permit_that_is_waited_for_goes_through_the_lock() {
        let slots = Slots::new(1);
        assert!(slots.take_or_wait());
        assert!(!slots.take_or_wait());
        assert!(!slots.try_give());
        slots.give(1);
        assert!(!slots.try_take());
        slots.nobody_waits();
        assert!(slots.try_take() && slots.try_give());
    }

    #[test]
    fn a_lower_limit_takes_no_permit_away() {
        let slots = Slots::new(2);
        assert!(slots.take() && slots.take());
        slots.set_limit(1);
        assert_eq!(slots.taken(), 2);
        slots.give(1);
        assert!(!slots.take());
        slots.give(1);
        assert!(slots.take());
    }
}
