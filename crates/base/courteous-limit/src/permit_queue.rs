//! The waiters of a limit whose permits come back: which of them gets the next one.
//!
//! ```text
//!       a permit is free, no waiter before it ------------> holds a permit
//!       /                                                        ^
//! enter -- none is free --> queued -- its turn, permit free -> promised -- polled, redeem
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
//! - The permits that the [`Capacity`] has given out are those that calls hold, and those that are
//!   promised.
//! - After each [`serve`](Serve::serve), the capacity has no permit for now while a waiter is queued.
//!   A waiter that cannot be woken is taken out of the queue like one whose promise has lapsed.
//! - A waiter keeps its age, whatever happens to its promise, until it leaves for good.
//!
//! # Example
//!
//! One permit, oldest first. Call A holds the permit; B, then C wait.
//!
//! | at | what happens | taken | `fresh` | `aging` | queue |
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
//!
//! # Why two orders
//!
//! If a limit is below the need, a queue grows until each waiter waits as long as its deadline
//! allows. Served oldest first, every permit then goes to a call that is about to give up, and none
//! is of use. Served newest first, the calls that are sent have nearly all of their time left, and
//! the limit serves what it can. A call without a deadline cannot give up, and would wait for ever
//! behind newer ones: so it is served oldest first. While both kinds wait, they take turns.

use std::{fmt, task::Waker, time::Duration};

use tokio::time::Instant;

use crate::{Next, Queue, Serve, Ticket, Wakes};

/// The time between two looks at the promises. A promise that is not redeemed lapses at the second
/// look after it was made: at an age of one to two of these.
const LOOK: Duration = Duration::from_millis(5);

/// How many permits there are: what a [`PermitQueue`] gives out.
pub trait Capacity: Send + 'static {
    /// Takes a permit, if there is one. Reads the clock only if the answer depends on it.
    fn take(&mut self, time: &mut StepTime) -> Taken;

    /// Takes back permits that were taken and not used.
    fn give_back(&mut self, permits: usize);
}

/// What became of asking a [`Capacity`] for a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no other answer")]
pub enum Taken {
    /// It was taken.
    Permit,
    /// There is none before this instant.
    Later(Instant),
    /// There is none until one is given back.
    None,
}

/// The time of one step, read when it is first asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTime(Option<Instant>);

impl StepTime {
    /// A time that was not read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// A time that is `now`.
    #[must_use]
    pub const fn at(now: Instant) -> Self {
        Self(Some(now))
    }

    /// The time, the same at each call.
    pub fn now(&mut self) -> Instant {
        *self.0.get_or_insert_with(Instant::now)
    }
}

/// Which waiter is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a queue has two ends")]
pub enum Order {
    /// The one that has waited for the longest.
    OldestFirst,
    /// The one that came last: for calls that give up after a time.
    NewestFirst,
}

/// The waiters for permits, and the permits.
///
/// Promises are counted by age only. So redeeming and lapsing take constant time, and there is no
/// list of promises.
pub struct PermitQueue<C> {
    capacity: C,
    oldest_first: Queue<Waiter>,
    newest_first: Queue<Waiter>,
    /// Which of the two was served last, while both have waiters.
    served: Order,
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
    waker: Option<Waker>,
    /// The number of looks when its promise was made. `None` if it has no promise, or has asked for
    /// it.
    promised: Option<u64>,
}

/// A waiter's place in a [`PermitQueue`].
#[derive(Debug)]
#[must_use = "the place stays in use until it is given back"]
pub struct QueueTicket {
    ticket: Ticket,
    order: Order,
}

/// What [`PermitQueue::enter`] found.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "there is no other answer")]
pub enum PermitEntry {
    /// A permit: one was free.
    Permit,
    /// A place in the queue.
    Queued(QueueTicket),
    /// No place in the queue. The capacity may have said when there is a permit.
    Full(Option<Instant>),
}

impl<C: Capacity> PermitQueue<C> {
    /// A queue without waiters.
    #[must_use]
    pub const fn new(capacity: C) -> Self {
        Self {
            capacity,
            oldest_first: Queue::new(),
            newest_first: Queue::new(),
            served: Order::OldestFirst,
            looks: 0,
            fresh: 0,
            aging: 0,
            look_at: None,
        }
    }

    /// The permits.
    #[must_use]
    pub const fn capacity(&self) -> &C {
        &self.capacity
    }

    /// The permits, to be changed. If there are more of them then, or one was given back, the queue
    /// has to be [served](Serve::serve).
    pub const fn capacity_mut(&mut self) -> &mut C {
        &mut self.capacity
    }

    /// Whether no waiter is queued.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.oldest_first.is_empty() && self.newest_first.is_empty()
    }

    /// The number of waiters, queued or promised or lapsed.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.oldest_first.tickets() + self.newest_first.tickets()
    }

    /// The number of permits that are promised: they are neither free nor held.
    #[must_use]
    pub const fn promised(&self) -> usize {
        self.fresh + self.aging
    }

    /// Takes a free permit. Without one, joins the queue, unless `max` others wait.
    ///
    /// A waiter that is served oldest first does not overtake those that are.
    pub fn enter(&mut self, max: Option<usize>, order: Order, time: &mut StepTime) -> PermitEntry {
        let mut at = None;
        if order == Order::NewestFirst || self.oldest_first.is_empty() {
            match self.capacity.take(time) {
                Taken::Permit => return PermitEntry::Permit,
                Taken::Later(later) => at = Some(later),
                Taken::None => {}
            }
        }
        if max.is_some_and(|max| self.waiting() >= max) {
            return PermitEntry::Full(at);
        }
        let ticket = self.of_mut(order).push_back(Waiter::default());
        PermitEntry::Queued(QueueTicket { ticket, order })
    }

    /// Takes a permit for a waiter that is being polled. Returns `false` if there is none for it.
    ///
    /// A waiter that had a promise before also takes a permit that is promised to another waiter,
    /// which has not been polled yet. `called` says that the waiter redeemed its promise and gave
    /// the permit back while its service became ready. If all waiters are polled late, or are slow
    /// to become ready, they would otherwise only hold off each other, and none would be admitted.
    pub fn redeem(&mut self, place: &QueueTicket, called: bool, time: &mut StepTime) -> bool {
        if self.is_queued(place) {
            return false;
        }
        let promised = self.waiter_mut(place).promised.take();
        match promised {
            Some(look) if self.withdraw(look) => true,
            None if !called => self.take(time),
            _ => self.withdraw_any() || self.take(time),
        }
    }

    /// Polls a waiter without reading the clock, where that is enough. Returns `Some(true)` if it
    /// got a permit, as by [`redeem`](Self::redeem). Returns `Some(false)` if it is queued and
    /// `served()` confirms that a timer serves the queue; `waker` is kept then. Else returns
    /// `None`.
    pub fn poll_cheap(
        &mut self,
        place: &QueueTicket,
        called: bool,
        waker: &mut Option<Waker>,
        served: impl FnOnce() -> bool,
    ) -> Option<bool> {
        if self.redeem(place, called, &mut StepTime::new()) {
            Some(true)
        } else if self.is_queued(place) && served() {
            self.keep(place, waker);
            Some(false)
        } else {
            None
        }
    }

    /// As [`redeem`](Self::redeem). Without a permit, the waiter is queued at the place of its age,
    /// and `waker` is kept; the waker that it replaces is left in `waker`.
    ///
    /// The caller clones and drops wakers without the lock: both may run any code, such as another
    /// call at this limit.
    pub fn redeem_or_queue(
        &mut self,
        place: &QueueTicket,
        called: bool,
        waker: &mut Option<Waker>,
        time: &mut StepTime,
    ) -> bool {
        if self.redeem(place, called, time) {
            return true;
        }
        if !self.is_queued(place) {
            if self.take(time) {
                return true;
            }
            self.of_mut(place.order).requeue(&place.ticket);
        }
        self.keep(place, waker);
        false
    }

    /// Removes a waiter for good. Its promised permit is free again. The caller drops the returned
    /// waker without the lock.
    pub fn leave(&mut self, place: QueueTicket) -> Option<Waker> {
        let waiter = self.of_mut(place.order).remove(place.ticket);
        if waiter.promised.is_some_and(|look| self.withdraw(look)) {
            self.capacity.give_back(1);
        }
        waiter.waker
    }

    /// Withdraws a promise, and with it the permit. Returns `false` if there is none. Its waiter is
    /// already woken, and is queued by its age when it is polled.
    pub fn withdraw_any(&mut self) -> bool {
        take_one(&mut self.aging) || take_one(&mut self.fresh)
    }

    fn is_queued(&self, place: &QueueTicket) -> bool {
        self.of(place.order).is_queued(&place.ticket)
    }

    const fn of(&self, order: Order) -> &Queue<Waiter> {
        match order {
            Order::OldestFirst => &self.oldest_first,
            Order::NewestFirst => &self.newest_first,
        }
    }

    const fn of_mut(&mut self, order: Order) -> &mut Queue<Waiter> {
        match order {
            Order::OldestFirst => &mut self.oldest_first,
            Order::NewestFirst => &mut self.newest_first,
        }
    }

    fn waiter_mut(&mut self, place: &QueueTicket) -> &mut Waiter {
        self.of_mut(place.order).get_mut(&place.ticket)
    }

    fn take(&mut self, time: &mut StepTime) -> bool {
        self.capacity.take(time) == Taken::Permit
    }

    fn keep(&mut self, place: &QueueTicket, waker: &mut Option<Waker>) {
        let kept = &mut self.waiter_mut(place).waker;
        let known = match (&*kept, &*waker) {
            (Some(kept), Some(waker)) => kept.will_wake(waker),
            _ => false,
        };
        if !known {
            std::mem::swap(kept, waker);
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
        self.capacity.give_back(lapsed);
        self.look_at = None;
    }

    /// Takes the next waiter out of the queue and promises it the permit that the caller has taken.
    /// Returns its waker. Returns `None` if it cannot be woken: then it keeps its age, and the
    /// caller keeps the permit.
    fn promise(&mut self) -> Option<Waker> {
        let looks = self.looks;
        let takes_turns = !self.oldest_first.is_empty() && !self.newest_first.is_empty();
        let is_newest_next = match takes_turns {
            true => self.served == Order::OldestFirst,
            false => self.oldest_first.is_empty(),
        };
        let waiter = match is_newest_next {
            true => {
                self.served = Order::NewestFirst;
                self.newest_first.take_back()?
            }
            false => {
                self.served = Order::OldestFirst;
                self.oldest_first.take_front()?
            }
        };
        let waker = waiter.waker.take()?;
        waiter.promised = Some(looks);
        self.fresh += 1;
        Some(waker)
    }
}

impl<C: Capacity> Serve for PermitQueue<C> {
    fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> Next {
        self.look(now);
        let mut next = None;
        while !self.is_empty() {
            match self.capacity.take(&mut StepTime::at(now)) {
                Taken::Permit => match self.promise() {
                    Some(waker) => wakes.push(waker),
                    None => self.capacity.give_back(1),
                },
                Taken::Later(at) => {
                    next = Some(at);
                    break;
                }
                Taken::None => break,
            }
        }
        if self.look_at.is_none() && self.promised() > 0 {
            self.look_at = Some(now + LOOK);
        }
        match (self.look_at, next) {
            (Some(look), Some(next)) => Next::At(look.min(next)),
            (Some(at), None) | (None, Some(at)) => Next::At(at),
            (None, None) if self.is_empty() => Next::Nothing,
            (None, None) => Next::Event,
        }
    }

    /// Wakes all waiters if one of them waits for an instant. Promises lapse only at the next call
    /// or poll without a timer, and waking would not change that.
    fn rouse(&mut self, wakes: &mut Wakes) {
        if self.promised() > 0 {
            return;
        }
        for queue in [&mut self.oldest_first, &mut self.newest_first] {
            wakes.extend(queue.values_mut().filter_map(|waiter| waiter.waker.take()));
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for PermitQueue<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PermitQueue")
            .field("capacity", &self.capacity)
            .field("oldest_first", &self.oldest_first)
            .field("newest_first", &self.newest_first)
            .field("promised", &(self.fresh + self.aging))
            .finish_non_exhaustive()
    }
}

fn take_one(count: &mut usize) -> bool {
    let some = *count > 0;
    *count -= usize::from(some);
    some
}
