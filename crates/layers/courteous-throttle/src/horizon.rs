//! GCRA's theoretical arrival time (TAT) of a token bucket, in one atomic word.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A) keeps no level of tokens. It keeps one
//! instant, and a price moves that instant on. Here the instant is the *horizon*: when the bucket
//! will be full again.
//!
//! ```text
//!            what the bucket lacks
//!           |<------------------->|
//! ----------+---------------------+-------------> time
//!          now                 horizon
//!
//! take a price:   next = max(horizon, now) + price
//!                 next - now <= full: paid, and `next` is the horizon.  Else: too few tokens
//! ```
//!
//! | at | asked for, of a bucket that holds 30 | next | next - now | horizon |
//! |---|---|---|---|---|
//! | 100 | 20 | 120 | 20: paid | 120 |
//! | 100 | 10 | 130 | 30: paid, and the bucket is empty | 130 |
//! | 100 | 1 | 131 | 31: not paid | 130 |
//! | 119 | 20 | 150 | 31: not paid, a unit too early | 130 |
//! | 120 | 20 | 150 | 30: paid | 150 |
//! | 110, read before the others and used after them | 1 | 151 | 41: not paid | 150 |
//!
//! Why an instant and not a level: a level has to be refilled before each look, so two values
//! change together, and need a lock. An instant needs no refill.

#[cfg(courteous_loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(courteous_loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// The end of the instants, prices and capacities that a [`Horizon`] may be told.
pub(crate) const END: u64 = 1 << 61;
/// So far away that no price can be paid: see [`Horizon::try_take`].
const LOCKED: u64 = 1 << 63;

/// A token bucket in one atomic word: the instant at which the bucket will be full again. Instants,
/// prices and the capacity have the same unit. One unit comes back in each unit of time.
///
/// A bucket that lacks `x` is full again in `x`. Paying a price puts that instant off by the price.
/// So one exchange of the word takes tokens. The bucket is never overdrawn. It does not matter in
/// which order callers come, or how late, with the instants that they have read.
///
/// The proof: no step makes the word less, and each paid price makes it more by at least that
/// price. Take all calls that paid at instants from `a` to `b`. After the first price was paid, the
/// word was at least `a` plus that price. After the last one was paid, it was at most `b` plus the
/// capacity. So all prices together are at most the capacity plus `b - a`.
///
/// A caller that needs more than the word takes the lock, and the word with it
/// ([`lock`](Self::lock)). From that exchange on, nothing can be taken here, until the word is told
/// where the horizon is now ([`unlock`](Self::unlock)). So everything under the lock happens as if
/// there were no word. An exchange may begin before that and end after it. If it finds another
/// word, it is repeated. If it finds the same word, the bucket lacks what it lacked, and no caller
/// needs more than the word. So the answer is still true.
///
/// The orderings are relaxed: this word is all that is read and written here, and what is under the
/// lock has the lock's order.
#[derive(Debug)]
pub(crate) struct Horizon(AtomicU64);

impl Horizon {
    /// A horizon that is with the lock.
    pub(crate) fn locked() -> Self {
        Self(AtomicU64::new(LOCKED))
    }

    /// Pays `price` at the instant `at`, out of a bucket that holds `full`. Returns `false` if the
    /// bucket has too little, or if the lock must be asked.
    #[inline]
    pub(crate) fn try_take(&self, at: u64, price: u64, full: u64) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |horizon| {
                // This is at most `END + END`, unless the word is `LOCKED`. Only `LOCKED` is more
                // than `END` away from any instant.
                let next = horizon.max(at) + price;
                (next - at <= full).then_some(next)
            })
            .is_ok()
    }

    /// Where the horizon is. `None` if it is with the lock.
    pub(crate) fn peek(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&horizon| horizon != LOCKED)
    }

    /// Returns where the horizon is, and gives it to the lock. `None` if the lock already has it.
    /// Call this and the following function under the lock.
    pub(crate) fn lock(&self) -> Option<u64> {
        // The word is only locked under the lock, so the lock's holder cannot read an older word.
        self.peek().map(|_| self.0.swap(LOCKED, Ordering::Relaxed))
    }

    /// Opens the horizon to all callers again.
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
