//! The queue of one limit: how many permits are taken, and which waiter gets the next one.
//!
//! ```text
//!       a permit is free, no waiter ----------------------> holds a permit
//!       /                                                        ^
//! enter -- none is free --> queued -- front, permit free --> promised -- polled, redeem
//!                             ^                                  |
//!                             |                                  | not polled for 5 to 10 ms
//!                             +-- polled, requeue by age ---- lapsed
//! ```
//!
//! A promised waiter is woken and out of the queue. The permit counts as taken until the waiter
//! redeems it or the promise lapses, so no call that arrives later can take it.
//!
//! # Invariant
//!
//! - `taken` = permits that calls hold + `fresh` + `aging`. It exceeds `limit` only after the limit
//!   was lowered, or by calls that are only observed.
//! - After each [`serve`](Serve::serve), no permit is free while a waiter is queued. A waiter that
//!   cannot be woken is taken out of the queue like one whose promise has lapsed.
//! - A waiter keeps its age, whatever happens to its promise, until it leaves for good.
//!
//! # Example
//!
//! A limit of 1. Call A holds the permit; B, then C wait.
//!
//! | at | what happens | `taken` | `fresh` | `aging` | queue |
//! |---|---|---|---|---|---|
//! | 10 ms | A ends: its permit is promised to B, which is woken; look at 15 ms | 1 | 1 | 0 | C |
//! | 15 ms | first look: the promise ages; next look at 20 ms | 1 | 0 | 1 | C |
//! | 20 ms | second look: B's promise lapses, and C gets one | 1 | 1 | 0 | |
//! | 22 ms | B is polled before C: it takes the permit that was promised to C | 1 | 0 | 0 | |
//! | 23 ms | C is polled, finds no permit, and is queued at the place of its age | 1 | 0 | 0 | C |
//!
//! # Why promises
//!
//! A permit that was handed to a waiter which is never polled would be lost until that waiter is
//! dropped. A permit that every call could take at any time would let new calls overtake the queue.

use std::{task::Waker, time::Duration};

use courteous_limit::{KeptWaker, Next, Queue, Serve, Ticket, Wakes};
use tokio::time::Instant;

/// The time between two looks at the promises. A promise that is not redeemed lapses at the second
/// look after it was made: at an age of one to two of these.
const LOOK: Duration = Duration::from_millis(5);

/// The permits of a limit, and the waiters.
///
/// Promises are counted by age only. So redeeming and lapsing take constant time, and there is no
/// list of promises.
#[derive(Debug)]
pub(crate) struct PermitQueue {
    limit: usize,
    /// Permits that calls hold or that are promised.
    taken: usize,
    queue: Queue<Waiter>,
    /// The number of looks so far.
    looks: u64,
    /// Promises made since the last look, and between the last two looks. Each has a permit.
    fresh: usize,
    aging: usize,
    /// The next look. Set by the first promise and then left as it is, so that not every promise
    /// sets the timer.
    look_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Waiter {
    /// From the last poll. A waiter without a waker cannot be woken: it was not polled since it
    /// joined or was last woken.
    waker: KeptWaker,
    /// The number of looks when its promise was made. `None` if it has no promise, or has asked for
    /// it.
    promised: Option<u64>,
}

/// What [`PermitQueue::enter`] found.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A permit: one was free.
    Permit,
    /// A place in the queue.
    Place(Ticket),
    /// No place in the queue.
    Full,
}

/// What [`PermitQueue::enter_beyond`] found. If no permit was free: also how many calls were in flight.
#[derive(Debug)]
pub(crate) enum BeyondEntry {
    Permit,
    /// A permit beyond the limit.
    Beyond(usize),
    /// No place in the queue.
    Full(usize),
}

impl PermitQueue {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: 0,
            queue: Queue::new(),
            looks: 0,
            fresh: 0,
            aging: 0,
            look_at: None,
        }
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Sets the number of free permits, as the word in front of the lock says.
    pub(crate) const fn set_free(&mut self, free: usize) {
        self.taken = self.limit - free;
    }

    /// How many permits any call may take without the lock. `None` while a waiter is queued.
    pub(crate) const fn free(&self) -> Option<usize> {
        match self.queue.is_empty() {
            true => self.limit.checked_sub(self.taken),
            false => None,
        }
    }

    /// The number of waiters, queued or promised or lapsed.
    pub(crate) const fn waiting(&self) -> usize {
        self.queue.tickets()
    }

    /// The number of permits that calls hold. Promised ones are neither free nor held.
    pub(crate) const fn held(&self) -> usize {
        self.taken - self.fresh - self.aging
    }

    /// Whether no permit is taken and no call waits.
    pub(crate) const fn is_idle(&self) -> bool {
        self.taken == 0 && self.waiting() == 0
    }

    /// Takes a free permit. Without one, joins the queue at its end, unless `max` others wait.
    pub(crate) fn enter(&mut self, max: Option<usize>) -> Entry {
        if self.take() {
            return Entry::Permit;
        }
        if max.is_some_and(|max| self.waiting() >= max) {
            return Entry::Full;
        }
        Entry::Place(self.queue.push_back(Waiter::default()))
    }

    /// Takes a permit for a call that is only observed, beyond the limit if none is free. Returns
    /// [`Full`](BeyondEntry::Full) if `max` others wait, or would wait if they were not beyond the
    /// limit.
    ///
    /// A promise to a waiter stays as it is.
    pub(crate) fn enter_beyond(&mut self, max: Option<usize>) -> BeyondEntry {
        if self.take() {
            return BeyondEntry::Permit;
        }
        let (in_flight, beyond) = (self.held(), self.taken.saturating_sub(self.limit));
        if max.is_some_and(|max| beyond.saturating_add(self.waiting()) >= max) {
            return BeyondEntry::Full(in_flight);
        }
        self.taken += 1;
        BeyondEntry::Beyond(in_flight)
    }

    /// Takes a permit for a waiter that is being polled. Returns `false` if there is none for it.
    ///
    /// A waiter that had a promise before also takes a permit that is promised to another waiter,
    /// which has not been polled yet. `called` says that the waiter redeemed its promise and gave
    /// the permit back while its service became ready. If all waiters are polled late, or are slow
    /// to become ready, they would otherwise only hold off each other, and none would be admitted.
    pub(crate) fn redeem(&mut self, ticket: &Ticket, called: bool) -> bool {
        if self.queue.is_queued(ticket) {
            return false;
        }
        match self.queue.get_mut(ticket).promised.take() {
            Some(look) if self.withdraw(look) => true,
            None if !called => self.take(),
            _ => self.withdraw_any() || self.take(),
        }
    }

    /// Polls a waiter without reading the clock, where that is enough. Returns `Some(true)` if it
    /// got a permit, as by [`redeem`](Self::redeem). Returns `Some(false)` if it is queued and
    /// `served()` confirms that a timer serves the queue; `waker` is kept then. Else returns
    /// `None`.
    pub(crate) fn poll_cheap(
        &mut self,
        ticket: &Ticket,
        called: bool,
        waker: &mut Option<Waker>,
        served: impl FnOnce() -> bool,
    ) -> Option<bool> {
        if self.redeem(ticket, called) {
            Some(true)
        } else if self.queue.is_queued(ticket) && served() {
            self.queue.get_mut(ticket).waker.keep(waker);
            Some(false)
        } else {
            None
        }
    }

    /// As [`redeem`](Self::redeem). Without a permit, the waiter is queued at the place of its age,
    /// and `waker` is kept; the waker that it replaces is left in `waker`.
    ///
    /// The caller clones and drops wakers without the lock: both may run any code, such as another
    /// call at this limiter.
    pub(crate) fn redeem_or_queue(
        &mut self,
        ticket: &Ticket,
        called: bool,
        waker: &mut Option<Waker>,
    ) -> bool {
        if self.redeem(ticket, called) {
            return true;
        }
        if !self.queue.is_queued(ticket) {
            if self.take() {
                return true;
            }
            self.queue.requeue(ticket);
        }
        self.queue.get_mut(ticket).waker.keep(waker);
        false
    }

    /// Removes a waiter for good. Its promised permit is free again. The caller drops the returned
    /// waker without the lock.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> KeptWaker {
        let waiter = self.queue.remove(ticket);
        if waiter.promised.is_some_and(|look| self.withdraw(look)) {
            self.give();
        }
        waiter.waker
    }

    /// Takes a permit if there is one.
    const fn take(&mut self) -> bool {
        let free = self.taken < self.limit;
        self.taken += free as usize;
        free
    }

    /// Gives a permit back.
    pub(crate) const fn give(&mut self) {
        self.taken -= 1;
    }

    /// Gives several permits back.
    pub(crate) const fn give_all(&mut self, permits: usize) {
        self.taken -= permits;
    }

    /// Changes the limit. Promises above it are withdrawn; their waiters are already woken, and are
    /// queued by their age when they are polled.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        while self.taken > limit && self.withdraw_any() {
            self.give();
        }
    }

    /// Withdraws a promise that was made at `look`. Returns `false` if it lapsed, or if another
    /// waiter took its permit.
    fn withdraw(&mut self, look: u64) -> bool {
        match self.looks - look {
            0 => take_one(&mut self.fresh),
            1 => take_one(&mut self.aging),
            _ => false,
        }
    }

    fn withdraw_any(&mut self) -> bool {
        take_one(&mut self.aging) || take_one(&mut self.fresh)
    }

    fn look(&mut self, now: Instant) {
        let Some(at) = self.look_at.filter(|at| *at <= now) else {
            return;
        };
        let mut lapsed = self.aging;
        self.aging = std::mem::take(&mut self.fresh);
        self.looks += 1;
        if now >= at + LOOK {
            // This look is late and counts as the second one, too: every promise was made before
            // `at`, as a later one would have been preceded by a look.
            lapsed += std::mem::take(&mut self.aging);
            self.looks += 1;
        }
        self.taken -= lapsed;
        self.look_at = None;
    }

    /// Takes the front out of the queue and promises it the permit that the caller has taken.
    /// Returns its waker. Returns `None` if it cannot be woken: then it keeps its age, and the
    /// caller keeps the permit.
    fn promise(&mut self) -> Option<Waker> {
        let looks = self.looks;
        let waiter = self.queue.take_front()?;
        let waker = waiter.waker.take()?;
        waiter.promised = Some(looks);
        self.fresh += 1;
        Some(waker)
    }
}

impl Serve for PermitQueue {
    fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> Next {
        self.look(now);
        while !self.queue.is_empty() && self.take() {
            match self.promise() {
                Some(waker) => wakes.push(waker),
                None => self.give(),
            }
        }
        if self.look_at.is_none() && self.fresh + self.aging > 0 {
            self.look_at = Some(now + LOOK);
        }
        match self.look_at {
            Some(at) => Next::At(at),
            None if self.queue.is_empty() => Next::Nothing,
            None => Next::Event,
        }
    }

    /// Does nothing: without a timer, promises lapse only at the next call or poll, and waking all
    /// waiters would not change that.
    fn rouse(&mut self, _: &mut Wakes) {}
}

fn take_one(count: &mut usize) -> bool {
    let some = *count > 0;
    *count -= usize::from(some);
    some
}
