use courteous_core::RejectReason;
use courteous_limit::{Ask, KeptWaker, Looks, Queue, Ticket, Wakes};
use tokio::time::Instant;

use super::tokens::Grant;

/// The calls that wait for tokens.
///
/// *Invariant.* Only waiters that are [waiting](State::Waiting) are in the queue, and `cost` is what
/// they cost together.
#[derive(Debug)]
pub(crate) struct Waiters {
    queue: Queue<Waiter>,
    cost: u64,
    /// When to look for waiters that cannot be served in time.
    pub(super) looks: Looks,
}

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(super) waker: KeptWaker,
    pub(super) state: State,
    pub(super) cost: u32,
    pub(super) retried: bool,
    /// The latest time until which it waits, and the reason for its rejection after that.
    pub(super) latest: Option<(Instant, RejectReason)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is in the queue.
    Waiting,
    /// It may send.
    Granted(Grant),
    /// It gave its grant back, and will be polled again.
    Away,
    /// It was rejected. The instant is the earliest at which it could have been sent.
    Rejected(RejectReason, Instant),
}

impl Waiter {
    pub(super) fn new(ask: &Ask) -> Self {
        Self {
            waker: KeptWaker::new(),
            state: State::Waiting,
            cost: ask.cost(),
            retried: ask.is_retried(),
            latest: ask.latest(),
        }
    }
}

impl Waiters {
    pub(super) const fn new() -> Self {
        Self {
            queue: Queue::new(),
            cost: 0,
            looks: Looks::new(),
        }
    }

    /// How many waiters are in the queue.
    pub(super) const fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether there is no waiter, neither in the queue nor out of it.
    pub(super) const fn is_unused(&self) -> bool {
        self.queue.tickets() == 0
    }

    /// The total cost of all waiters in the queue.
    pub(crate) const fn cost(&self) -> u64 {
        self.cost
    }

    /// The cost of the waiter at the front of the queue.
    pub(super) fn front_cost(&self) -> Option<u32> {
        self.queue.front().map(|front| front.cost)
    }

    pub(super) fn get(&self, ticket: &Ticket) -> &Waiter {
        self.queue.get(ticket)
    }

    pub(super) fn get_mut(&mut self, ticket: &Ticket) -> &mut Waiter {
        self.queue.get_mut(ticket)
    }

    /// Adds a waiter to the queue.
    pub(super) fn push(&mut self, waiter: Waiter) -> Ticket {
        self.cost += u64::from(waiter.cost);
        self.queue.push_back(waiter)
    }

    /// Puts a waiter back into the queue, at the place of its age.
    pub(super) fn requeue(&mut self, ticket: &Ticket) {
        let waiter = self.queue.get_mut(ticket);
        waiter.state = State::Waiting;
        self.cost += u64::from(waiter.cost);
        self.queue.requeue(ticket);
    }

    /// Grants the waiter at the front its turn.
    pub(super) fn grant_front(&mut self, grant: Grant, wakes: &mut Wakes) {
        if let Some(front) = self.queue.take_front() {
            self.cost -= u64::from(front.cost);
            front.state = State::Granted(grant);
            wakes.extend(front.waker.take());
        }
    }

    /// Rejects one waiter, which is being polled.
    pub(super) fn reject_one(&mut self, ticket: &Ticket, reason: RejectReason, at: Instant) {
        let waiter = self.queue.get_mut(ticket);
        waiter.state = State::Rejected(reason, at);
        self.cost -= u64::from(waiter.cost);
        self.queue.take(ticket);
    }

    /// Rejects each waiter in the queue for which `reason` returns one. `reason` is told what the
    /// waiters before it cost.
    pub(super) fn reject(
        &mut self,
        wakes: &mut Wakes,
        mut reason: impl FnMut(&Waiter, u64) -> Option<(RejectReason, Instant)>,
    ) {
        let mut ahead = 0;
        self.queue.retain(|waiter| {
            if let Some((reason, at)) = reason(waiter, ahead) {
                waiter.state = State::Rejected(reason, at);
                wakes.extend(waiter.waker.take());
                return false;
            }
            ahead += u64::from(waiter.cost);
            true
        });
        self.cost = ahead;
    }

    /// Removes a waiter for good.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Waiter {
        let waiter = self.queue.remove(ticket);
        if waiter.state == State::Waiting {
            self.cost -= u64::from(waiter.cost);
        }
        waiter
    }

    /// Takes the wakers of all waiters.
    pub(super) fn rouse(&mut self, wakes: &mut Wakes) {
        wakes.extend(
            self.queue
                .values_mut()
                .filter_map(|waiter| waiter.waker.take()),
        );
    }
}
