//! Which calls and waiters are refused, because they cannot be served in time.

use courteous_core::{RejectReason, Rejected};
use courteous_limit::Ask;
use courteous_limit::Wakes;
use tokio::time::Instant;

use super::Core;
use crate::{
    local::{earliest, later},
    outage::Outage,
    waiter::State,
};

impl Core {
    /// Returns the refusal of a call that cannot even wait.
    pub(super) fn refusal(&self, ask: &Ask, now: Instant) -> Option<Rejected> {
        if ask.cost() > self.calls.terms().max_cost() {
            return Some(self.above_burst(ask.cost()));
        }
        if let Some(opens) = self.closing.until()
            && ask.is_retried()
        {
            let release = later(opens, self.draw());
            return Some(self.rejected(RejectReason::Paused, release, now));
        }
        let at = self.turn(self.queued_cost, ask.cost(), now);
        let reason = if self.queue.len() >= ask.max_waiting() {
            match (ask.max_waiting(), self.closing.until()) {
                (0, Some(_)) => RejectReason::Paused,
                (0, None) if self.is_unavailable(now) => RejectReason::Unavailable,
                (0, None) => RejectReason::AtCapacity,
                _ => RejectReason::QueueFull,
            }
        } else {
            self.vain(ask.latest(), at, now)?
        };
        Some(self.rejected(reason, at, now))
    }

    /// Makes the refusal of a call that could be sent at `at` at the earliest.
    pub(super) fn rejected(&self, reason: RejectReason, at: Instant, now: Instant) -> Rejected {
        let rejected = Rejected::new(reason);
        match reason {
            // The wait is unknown.
            RejectReason::Unavailable => rejected,
            _ => rejected.with_wait(now, at.saturating_duration_since(now)),
        }
    }

    /// Makes the refusal of a call that costs more than any call can.
    pub(super) fn above_burst(&self, cost: u32) -> Rejected {
        Rejected::above_burst(cost, self.calls.terms().max_cost(), self.rate)
    }

    /// The earliest turn of a call that is behind waiters with a total cost of `ahead`.
    pub(super) fn turn(&self, ahead: u64, cost: u32, now: Instant) -> Instant {
        let needed = ahead.saturating_add(u64::from(cost));
        let open = self.closing.until().unwrap_or(now).max(now);
        if self.calls.is_down() {
            return open;
        }
        let held = self.leased.len();
        let at = if needed <= held {
            self.leased
                .opens_at(u32::try_from(needed).unwrap_or(u32::MAX))
        } else {
            self.calls.slot_after(needed - held)
        };
        at.map_or(open, |at| at.max(open))
    }

    /// The reason why it is useless to wait for a turn at `at` or later, if there is one.
    pub(super) fn vain(
        &self,
        latest: Option<(Instant, RejectReason)>,
        at: Instant,
        now: Instant,
    ) -> Option<RejectReason> {
        match latest {
            Some((latest, reason)) if latest <= now && at <= now => {
                Some(if self.is_unavailable(now) {
                    RejectReason::Unavailable
                } else {
                    reason
                })
            }
            Some((latest, reason)) => (at > latest).then_some(reason),
            None => {
                // While a call to Redis is being tried, the answer is unknown.
                let given_up = self.gives_up_at().is_some_and(|at| at <= now);
                (given_up && !self.calls.is_trying(now)).then_some(RejectReason::Unavailable)
            }
        }
    }

    /// When a wait becomes useless. `None` if only a failed call to Redis will show that.
    pub(super) fn vain_at(
        &self,
        latest: Option<(Instant, RejectReason)>,
        now: Instant,
    ) -> Option<Instant> {
        match latest {
            Some((latest, _)) => Some(latest),
            None => self.gives_up_at().filter(|&at| at > now),
        }
    }

    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        match self.outage {
            Outage::Closed { patience } => {
                self.calls.down_since().map(|since| later(since, patience))
            }
            _ => None,
        }
    }

    pub(super) fn is_unavailable(&self, now: Instant) -> bool {
        self.calls.is_unavailable(now)
    }

    /// Refuses all waiters that cannot be served in time.
    pub(crate) fn look(&mut self, now: Instant, wakes: &mut Wakes) {
        let (mut ahead, mut next) = (0, None);
        let max_cost = self.calls.terms().max_cost();
        // The queue is taken out of the core while its waiters are looked at.
        let mut queue = std::mem::take(&mut self.queue);
        queue.retain(|waiter| {
            let at = self.turn(ahead, waiter.cost, now);
            let reason = if waiter.cost > max_cost {
                Some(RejectReason::CostAboveBurst)
            } else {
                self.vain(waiter.latest, at, now)
            };
            if let Some(reason) = reason {
                waiter.state = State::Rejected(reason, at);
                wakes.extend(waiter.waker.take());
                return false;
            }
            ahead += u64::from(waiter.cost);
            next = earliest(next, self.vain_at(waiter.latest, now));
            true
        });
        self.queue = queue;
        self.queued_cost = ahead;
        self.looks.taken(next, now);
    }

    /// Makes a look due when the queue is served next.
    pub(crate) fn look_soon(&mut self, now: Instant) {
        self.looks.now(now);
    }

    /// Looks if a look is due, but not too often. Returns whether it looked.
    pub(super) fn look_if_due(&mut self, now: Instant, wakes: &mut Wakes) -> bool {
        let due = self.looks.begin(self.queue.len(), now);
        if due {
            self.look(now, wakes);
        }
        due
    }
}
