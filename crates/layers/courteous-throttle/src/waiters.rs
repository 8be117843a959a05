//! The queue of a bucket's waiters, and the order in which they may use their grants.
//!
//! Waiters are woken in their order, and an executor polls tasks in the order in which they were
//! woken. So grants are used in order, except after a waiter came back to the queue: it is woken
//! later than younger waiters that were granted their turns before.
//!
//! ```text
//! ages           B < C
//! grant 4 -----> C is woken
//! grant 5 -----> B, which had missed an earlier grant, is woken
//! C is polled:   B is older, and was woken after C. So C is early: it gets grant 6, is woken once
//!                more, and is polled after B
//! ```
//!
//! The invariant: `late` has the ages and grants of waiters that were woken out of order, and both
//! ascend. So one search tells whether a waiter is early. A waiter whose grant is at most
//! `recalled` has none any more, and learns of that when it is polled: a recall takes constant
//! time, however many grants there are.

use courteous_core::RejectReason;
use courteous_limit::LimitId;
use courteous_limit::{Queue, Ticket, Wakes};
use tokio::time::Instant;

use crate::{
    levels::Totals,
    meter::Costs,
    waiter::{State, Waiter},
};

/// The calls that wait for tokens, and what they cost together.
#[derive(Debug)]
pub(crate) struct Waiters {
    queue: Queue<Waiter>,
    costs: Totals,
    /// The number of the latest grant, and the number of the latest grant that was recalled, with
    /// all grants before it.
    granted: u64,
    recalled: u64,
    /// Waiters that came back, and others that were woken when younger ones may already have been.
    /// Holds their ages, and the numbers of their grants. Both ascend.
    late: Vec<(u64, u64)>,
    /// The latest release that was given to a waiter in the queue.
    released: Option<Instant>,
    /// Whether releases were drawn that may not have the order of the queue.
    mixed: bool,
    /// Whether the wait of any waiter may have a bound.
    pub(crate) bounded: bool,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self {
            queue: Queue::new(),
            costs: [0; LimitId::MOST],
            granted: 0,
            recalled: 0,
            late: Vec::new(),
            released: None,
            mixed: false,
            bounded: false,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether there is no waiter, neither in the queue nor out of it.
    pub(crate) const fn is_unused(&self) -> bool {
        self.queue.tickets() == 0
    }

    /// What all waiters in the queue cost.
    pub(crate) const fn costs(&self) -> &Totals {
        &self.costs
    }

    /// A call that joins now is not let through before this instant.
    pub(crate) fn released(&self) -> Option<Instant> {
        self.released.filter(|_| !self.is_empty())
    }

    pub(crate) fn get_mut(&mut self, ticket: &Ticket) -> &mut Waiter {
        let waiter = self.queue.get_mut(ticket);
        waiter.note(self.recalled);
        waiter
    }

    /// Takes back all grants that are not used yet. A waiter that had one learns of that when it is
    /// polled.
    pub(crate) fn recall(&mut self) {
        self.recalled = self.granted;
        self.late = Vec::new();
    }

    /// Whether a waiter that was granted its turn has to be woken once more before it uses the
    /// turn, because older waiters were woken after it. It makes no difference whether those are
    /// polled.
    pub(crate) fn is_early(&mut self, ticket: &Ticket) -> bool {
        let grant = self.queue.get(ticket).grant;
        let age = self.queue.age(ticket);
        let later = self.late.partition_point(|&(_, other)| other <= grant);
        let early = self.late.get(later).is_some_and(|&(older, _)| older < age);
        if early {
            self.queue.get_mut(ticket).grant = self.grant_late(age);
        }
        early
    }

    /// Returns the number of a grant to a waiter that is woken when younger ones may already have
    /// been.
    fn grant_late(&mut self, age: u64) -> u64 {
        self.granted += 1;
        // If a waiter is early because of a removed entry, it is also early because of the new one.
        while self.late.pop_if(|&mut (other, _)| other >= age).is_some() {}
        self.late.push((age, self.granted));
        self.granted
    }

    /// Whether an older waiter is in the queue.
    pub(crate) fn is_behind(&self, ticket: &Ticket) -> bool {
        self.queue.is_overtaking(ticket)
    }

    pub(crate) fn front(&self) -> Option<&Waiter> {
        self.queue.front()
    }

    pub(crate) fn push(&mut self, waiter: Waiter) -> Ticket {
        self.join(&waiter.costs(), waiter.release);
        self.bounded = waiter.latest().is_some() || self.bounded && !self.is_unused();
        self.queue.push_back(waiter)
    }

    /// Puts a waiter back into the queue, at the place that its age gives it. `release` is the
    /// release that it has drawn for that.
    pub(crate) fn requeue(&mut self, ticket: &Ticket, release: Option<Instant>) {
        let waiter = self.queue.get_mut(ticket);
        waiter.state = State::Waiting;
        waiter.release = release.or(waiter.release);
        let costs = waiter.costs();
        self.join(&costs, release);
        self.queue.requeue(ticket);
    }

    fn join(&mut self, costs: &Costs, release: Option<Instant>) {
        add(&mut self.costs, costs);
        self.released = self.released().max(release);
        self.mixed |= release.is_some();
    }

    /// Grants the waiter at the front its turn, and takes it out of the queue.
    pub(crate) fn grant_front(&mut self, wakes: &mut Wakes) {
        let Some(age) = self.queue.front_age() else {
            return;
        };
        let grant = match self.queue.front().is_some_and(|front| front.returned) {
            true => self.grant_late(age),
            false => {
                self.granted += 1;
                self.granted
            }
        };
        if let Some(front) = self.queue.take_front() {
            subtract(&mut self.costs, &front.costs());
            front.state = State::Granted;
            front.grant = grant;
            wakes.extend(front.waker.take());
        }
    }

    /// Removes a waiter for good.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Waiter {
        let mut waiter = self.queue.remove(ticket);
        waiter.note(self.recalled);
        if self.is_unused() {
            self.late = Vec::new();
        }
        if waiter.state == State::Waiting {
            subtract(&mut self.costs, &waiter.costs());
        }
        waiter
    }

    /// Rejects each waiter in the queue for which `rejection` returns a reason. `rejection` is told
    /// what the waiters before it cost.
    pub(crate) fn reject(
        &mut self,
        wakes: &mut Wakes,
        mut rejection: impl FnMut(&Waiter, &Totals) -> Option<(RejectReason, Instant)>,
    ) {
        let mut ahead = [0; LimitId::MOST];
        self.queue.retain(|waiter| {
            if let Some((reason, at)) = rejection(waiter, &ahead) {
                waiter.reject(reason, at);
                wakes.extend(waiter.waker.take());
                return false;
            }
            add(&mut ahead, &waiter.costs());
            true
        });
        self.costs = ahead;
    }

    /// Gives each waiter in the queue a new release.
    pub(crate) fn release_at(&mut self, mut releases: Vec<Instant>) {
        releases.sort_unstable();
        self.released = releases.last().copied();
        self.mixed = false;
        let mut releases = releases.into_iter();
        self.queue.retain(|waiter| {
            waiter.release = releases.next().or(waiter.release);
            true
        });
    }

    /// Brings the releases into the order of the queue. Otherwise, each waiter would leave at the
    /// latest release before it. No release becomes later by that.
    pub(crate) fn order_releases(&mut self) {
        if !std::mem::take(&mut self.mixed) {
            return;
        }
        let mut releases = Vec::with_capacity(self.len());
        self.queue.retain(|waiter| {
            releases.extend(waiter.release);
            true
        });
        releases.sort_unstable();
        let mut releases = releases.into_iter();
        self.queue.retain(|waiter| {
            if waiter.release.is_some() {
                waiter.release = releases.next();
            }
            true
        });
    }

    /// Takes the wakers of all waiters.
    pub(crate) fn rouse(&mut self, wakes: &mut Wakes) {
        wakes.extend(
            self.queue
                .values_mut()
                .filter_map(|waiter| waiter.waker.take()),
        );
    }
}

fn add(totals: &mut Totals, costs: &Costs) {
    for (total, &cost) in totals.iter_mut().zip(costs) {
        *total += u64::from(cost);
    }
}

fn subtract(totals: &mut Totals, costs: &Costs) {
    for (total, &cost) in totals.iter_mut().zip(costs) {
        *total -= u64::from(cost);
    }
}
