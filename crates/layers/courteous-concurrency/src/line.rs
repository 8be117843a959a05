use std::{task::Waker, time::Duration};

use courteous_queue::{Next, Queue, Serve, Ticket, Wakes};
use tokio::time::Instant;

/// How often promises are looked at. One that is not redeemed lapses at the second look after it
/// was made, so when it is between one and two of these old.
const LOOK: Duration = Duration::from_millis(5);

/// The permits, and those who wait for one.
///
/// A permit that comes free is *promised* to the front of the line, who is woken and redeems it in
/// its next poll. A promise lapses, so that a waiter who is not polled holds up nobody; it then has
/// no place in the line until it is polled again, and gets its old one back.
///
/// Promises are counted by age only: redeeming and lapsing take constant time, and no list is kept
/// of who was promised what.
#[derive(Debug)]
pub(crate) struct Line {
    limit: usize,
    /// Permits that are out, or promised.
    taken: usize,
    queue: Queue<Waiter>,
    /// How often promises were looked at.
    looks: u64,
    /// Promises made since the last look, and between the last two. Each has a permit.
    fresh: usize,
    aging: usize,
    /// When to look next. Set by the first promise and then left alone, so that the timer is not
    /// set for each promise.
    look_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Waiter {
    /// Of the last poll. A waiter without one cannot be told anything: it was not polled since it
    /// joined or was woken.
    waker: Option<Waker>,
    /// The number of looks at the time when it was promised a permit that it has not asked for yet.
    promised: Option<u64>,
}

/// What [`Line::enter`] found.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A permit, free after all.
    Permit,
    /// A place in the line.
    Place(Ticket),
    /// Too many others.
    Full,
}

/// What [`Line::enter_beyond`] found, and how many calls were in flight if there was no permit.
#[derive(Debug)]
pub(crate) enum BeyondEntry {
    Permit,
    /// A permit beyond the limit.
    Beyond(usize),
    /// Too many others.
    Full(usize),
}

impl Line {
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

    /// Notes how many permits are free.
    pub(crate) const fn set_free(&mut self, free: usize) {
        self.taken = self.limit - free;
    }

    /// How many permits any call may take; `None` while a call is in the line.
    pub(crate) const fn free(&self) -> Option<usize> {
        match self.queue.is_empty() {
            true => self.limit.checked_sub(self.taken),
            false => None,
        }
    }

    /// How many wait, in the line or not.
    pub(crate) const fn waiting(&self) -> usize {
        self.queue.tickets()
    }

    /// How many permits calls hold: those that are promised are neither free nor held.
    pub(crate) const fn held(&self) -> usize {
        self.taken - self.fresh - self.aging
    }

    /// Whether no permit is out and nobody waits.
    pub(crate) const fn is_idle(&self) -> bool {
        self.taken == 0 && self.waiting() == 0
    }

    /// Joins the line at its end, unless there is a permit, or `max` others wait.
    pub(crate) fn enter(&mut self, max: Option<usize>) -> Entry {
        if self.take() {
            return Entry::Permit;
        }
        if max.is_some_and(|max| self.waiting() >= max) {
            return Entry::Full;
        }
        Entry::Place(self.queue.push_back(Waiter::default()))
    }

    /// Takes a permit for a call that is only observed: beyond the limit if none is free, unless `max` others wait, or would wait
    /// if they were not beyond the limit.
    ///
    /// A call that waits loses nothing by that: what it was promised stays its own.
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

    /// Takes a permit for a waiter who is being polled, if there is one for it.
    ///
    /// A waiter who was called before, and is here now, also takes one that is promised to somebody
    /// who is not: `called` tells that it gave back what it was promised, to make ready. Where all
    /// are polled late, or are slow to make ready, each would else only hold off the others, and
    /// nobody would ever be admitted.
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

    /// What a waiter who is being polled finds, if that can be told without the clock: a permit, as
    /// [`redeem`](Self::redeem), or that it stands in the line, whose promises are looked after, as
    /// `served` tells; `waker` is kept then, as by [`redeem_or_stand`](Self::redeem_or_stand).
    pub(crate) fn glance(
        &mut self,
        ticket: &Ticket,
        called: bool,
        waker: &mut Option<Waker>,
        served: impl FnOnce() -> bool,
    ) -> Option<bool> {
        if self.redeem(ticket, called) {
            Some(true)
        } else if self.queue.is_queued(ticket) && served() {
            self.keep(ticket, waker);
            Some(false)
        } else {
            None
        }
    }

    /// As [`redeem`](Self::redeem); without a permit, the waiter stands in the line then, where its
    /// age says, and `waker` is kept, and the one that it replaces left in its place.
    ///
    /// The caller clones and drops wakers without the lock: both may run any code, such as another
    /// call at this limiter.
    pub(crate) fn redeem_or_stand(
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
        self.keep(ticket, waker);
        false
    }

    fn keep(&mut self, ticket: &Ticket, waker: &mut Option<Waker>) {
        let kept = &mut self.queue.get_mut(ticket).waker;
        let known = match (&*kept, &*waker) {
            (Some(kept), Some(waker)) => kept.will_wake(waker),
            _ => false,
        };
        if !known {
            std::mem::swap(kept, waker);
        }
    }

    /// Leaves for good. What it was promised is free again. The returned waker must be dropped
    /// without the lock.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
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

    /// Gives so many permits back.
    pub(crate) const fn give_all(&mut self, permits: usize) {
        self.taken -= permits;
    }

    /// Promises above the new limit are taken back; their waiters are woken already, and get back
    /// their places when polled.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        while self.taken > limit && self.withdraw_any() {
            self.give();
        }
    }

    /// Takes back a promise that was made at `look`, unless it lapsed or somebody else redeemed it.
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
            // This is the second look as well: every promise was made before `at`, or it would have
            // been preceded by a look.
            lapsed += std::mem::take(&mut self.aging);
            self.looks += 1;
        }
        self.taken -= lapsed;
        self.look_at = None;
    }

    /// Calls the front out of the line, with a permit in hand; says whom to wake. `None` if it
    /// cannot be woken: it keeps its place by its age, and the permit is still in hand.
    fn promise(&mut self) -> Option<Waker> {
        let looks = self.looks;
        let waiter = self.queue.take_front()?;
        let waker = waiter.waker.take()?;
        waiter.promised = Some(looks);
        self.fresh += 1;
        Some(waker)
    }
}

impl Serve for Line {
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

    /// Without a timer, promises lapse only when somebody comes along. Waking all who wait would
    /// not change that.
    fn rouse(&mut self, _: &mut Wakes) {}
}

fn take_one(count: &mut usize) -> bool {
    let some = *count > 0;
    *count -= usize::from(some);
    some
}
