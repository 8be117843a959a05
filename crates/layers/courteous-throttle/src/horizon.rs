#[cfg(courteous_loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(courteous_loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the instants, prices and capacities end that a [`Horizon`] may be told.
pub(crate) const END: u64 = 1 << 61;
/// So far away that no price can be paid: see [`Horizon::try_take`].
const LOCKED: u64 = 1 << 63;

/// A token bucket in one atomic word: the instant at which it will be full again. Instants, prices and its capacity are in
/// one unit, in which a unit comes back in each unit of time.
///
/// A bucket that lacks `x` is full again in `x`, and paying a price puts that off by as much; so one exchange of the word
/// takes tokens. The bucket is never overdrawn, in whatever order and however late callers come with the instants that they
/// have read. No step makes the word less, and each price that is paid makes it more by as much. So for all who paid at instants from
/// `a` to `b`: the word was at least `a` and the first one's price after that price was paid, and at most `b` and the capacity
/// after the last one was. So all prices together are at most the capacity and `b - a`.
///
/// Whoever needs more than that takes the lock, and the word with it ([`lock`](Self::lock)): from that exchange on, nothing can be
/// taken here, until it is told where the horizon is now ([`unlock`](Self::unlock)). So whatever happens under the lock happens as if
/// there were no word. An exchange that was begun before that and ends after it finds another word and is repeated, or finds the same
/// one: then the bucket lacks what it lacked, and nobody needs more than the word, so that the answer is still true.
///
/// The orderings are relaxed: this word is all that is read and written here, and what is under the lock has the lock's order.
#[derive(Debug)]
pub(crate) struct Horizon(AtomicU64);

impl Horizon {
    /// One that is with the lock.
    pub(crate) fn locked() -> Self {
        Self(AtomicU64::new(LOCKED))
    }

    /// Pays `price` at the instant `at`, out of a bucket that holds `full`, unless too little is there, or the lock must be asked.
    #[inline]
    pub(crate) fn try_take(&self, at: u64, price: u64, full: u64) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |horizon| {
                // At most `END + END`, but for `LOCKED`: that alone is more than `END` away from any instant.
                let next = horizon.max(at) + price;
                (next - at <= full).then_some(next)
            })
            .is_ok()
    }

    /// Where the horizon is; `None` if it is with the lock.
    pub(crate) fn peek(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&horizon| horizon != LOCKED)
    }

    /// Where the horizon is, which is with the lock from now on; `None` if it already is. Under the lock, as what follows.
    pub(crate) fn lock(&self) -> Option<u64> {
        // Whoever locked the word did so under the lock: its holder cannot read an older one.
        self.peek().map(|_| self.0.swap(LOCKED, Ordering::Relaxed))
    }

    /// Leaves the horizon to everybody.
    pub(crate) fn unlock(&self, horizon: u64) {
        self.0.store(horizon, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(courteous_loom)))]
mod tests {
    use super::*;

    fn open(at: u64) -> Horizon {
        let horizon = Horizon::locked();
        horizon.unlock(at);
        horizon
    }

    #[test]
    fn a_bucket_holds_what_it_holds_and_not_more() {
        let horizon = open(0);
        assert!(horizon.try_take(100, 20, 30) && horizon.try_take(100, 10, 30));
        assert!(!horizon.try_take(100, 1, 30));
        // An idle year earns one burst.
        assert!(horizon.try_take(1_000_000, 30, 30));
        assert!(!horizon.try_take(1_000_000, 1, 30));
    }

    #[test]
    fn a_price_is_back_after_that_time_and_not_before() {
        let horizon = open(0);
        assert!(horizon.try_take(100, 30, 30));
        assert!(!horizon.try_take(119, 20, 30));
        assert!(horizon.try_take(120, 20, 30));
    }

    #[test]
    fn one_who_comes_late_with_an_old_instant_overdraws_nothing() {
        let horizon = open(0);
        assert!(horizon.try_take(100, 30, 30));
        assert!(!horizon.try_take(50, 1, 30));
        assert!(!horizon.try_take(100, 1, 30));
    }

    #[test]
    fn nothing_is_taken_from_a_word_that_is_with_the_lock() {
        let horizon = open(7);
        assert_eq!(horizon.lock(), Some(7));
        assert_eq!(horizon.lock(), None);
        assert!(!horizon.try_take(END, 0, END));
        assert!(!horizon.try_take(0, END, END));
        horizon.unlock(7);
        assert!(horizon.try_take(END, END, END));
        assert_eq!(horizon.lock(), Some(2 * END));
    }
}
