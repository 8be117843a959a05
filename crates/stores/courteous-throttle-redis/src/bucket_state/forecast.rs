//! Which calls and waiters are rejected, because they cannot be served in time.

use courteous_core::{RejectReason, Rejected};
use courteous_limit::{Ask, Wakes, earliest, later};
use tokio::time::Instant;

use super::{BucketState, calls::Calls, tokens::Tokens};
use crate::outage::Outage;

/// What can be said at an instant of waits that have not ended yet.
struct Forecast<'a> {
    tokens: &'a Tokens,
    calls: &'a Calls,
    now: Instant,
}

impl Forecast<'_> {
    /// The earliest turn of a call that is behind waiters with a total cost of `ahead`.
    fn turn(&self, ahead: u64, cost: u32) -> Instant {
        let needed = ahead.saturating_add(u64::from(cost));
        let open = self.tokens.closed_until().unwrap_or(self.now).max(self.now);
        if self.calls.is_alone() {
            return open;
        }
        let leased = self.tokens.leased();
        let at = match needed.checked_sub(leased.len()) {
            None | Some(0) => leased.opens_at(u32::try_from(needed).unwrap_or(u32::MAX)),
            Some(more) => self.calls.slot_after(more),
        };
        at.map_or(open, |at| at.max(open))
    }

    /// The reason why it is useless to wait for a turn at `at` or later, if there is one.
    fn vain(&self, latest: Option<(Instant, RejectReason)>, at: Instant) -> Option<RejectReason> {
        let now = self.now;
        match latest {
            Some((latest, reason)) if latest <= now && at <= now => {
                Some(match self.calls.is_unavailable(now) {
                    true => RejectReason::Unavailable,
                    false => reason,
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
    fn vain_at(&self, latest: Option<(Instant, RejectReason)>) -> Option<Instant> {
        match latest {
            Some((latest, _)) => Some(latest),
            None => self.gives_up_at().filter(|&at| at > self.now),
        }
    }

    fn gives_up_at(&self) -> Option<Instant> {
        match self.tokens.outage() {
            Outage::Closed { patience } => {
                self.calls.alone_since().map(|since| later(since, patience))
            }
            _ => None,
        }
    }
}

impl BucketState {
    const fn forecast(&self, now: Instant) -> Forecast<'_> {
        Forecast {
            tokens: &self.tokens,
            calls: &self.calls,
            now,
        }
    }

    /// When a wait becomes useless. `None` if only a failed call to Redis will show that.
    pub(super) fn vain_at(
        &self,
        latest: Option<(Instant, RejectReason)>,
        now: Instant,
    ) -> Option<Instant> {
        self.forecast(now).vain_at(latest)
    }

    /// Returns the rejection of a call that cannot even wait.
    pub(super) fn rejection(&self, ask: &Ask, now: Instant) -> Option<Rejected> {
        if ask.cost() > self.calls.terms().max_cost() {
            return Some(self.above_burst(ask.cost()));
        }
        let closed = self.tokens.closed_until();
        if let Some(opens) = closed
            && ask.is_retried()
        {
            let release = self.spread.after(opens);
            return Some(self.rejected(RejectReason::Paused, release, now));
        }
        let forecast = self.forecast(now);
        let at = forecast.turn(self.waiters.cost(), ask.cost());
        let reason = if self.waiters.len() >= ask.max_waiting() {
            let none = match closed {
                Some(_) => RejectReason::Paused,
                None if self.calls.is_unavailable(now) => RejectReason::Unavailable,
                None => RejectReason::AtCapacity,
            };
            ask.rejection(self.waiters.len(), at, none)?
        } else {
            forecast.vain(ask.latest(), at)?
        };
        Some(self.rejected(reason, at, now))
    }

    /// Makes the rejection of a call that could be sent at `at` at the earliest.
    pub(super) fn rejected(&self, reason: RejectReason, at: Instant, now: Instant) -> Rejected {
        let rejected = Rejected::new(reason);
        match reason {
            // The wait is unknown.
            RejectReason::Unavailable => rejected,
            _ => rejected.with_wait(now, at.saturating_duration_since(now)),
        }
    }

    /// Makes the rejection of a call that costs more than any call can.
    pub(super) fn above_burst(&self, cost: u32) -> Rejected {
        Rejected::above_burst(cost, self.calls.terms().max_cost(), self.rate)
    }

    /// Rejects all waiters that cannot be served in time.
    pub(crate) fn look(&mut self, now: Instant, wakes: &mut Wakes) {
        let Self {
            waiters,
            tokens,
            calls,
            ..
        } = self;
        let forecast = Forecast { tokens, calls, now };
        let (mut next, max_cost) = (None, calls.terms().max_cost());
        waiters.reject(wakes, |waiter, ahead| {
            let at = forecast.turn(ahead, waiter.cost);
            if waiter.cost > max_cost {
                return Some((RejectReason::CostAboveBurst, at));
            }
            let vain = forecast.vain(waiter.latest, at);
            if vain.is_none() {
                next = earliest(next, forecast.vain_at(waiter.latest));
            }
            vain.map(|reason| (reason, at))
        });
        waiters.looks.taken(next, now);
    }
}
