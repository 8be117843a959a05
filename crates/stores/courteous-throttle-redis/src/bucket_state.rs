//! The state of a bucket in this process. The caller passes it the time.
//!
//! ```text
//!            BucketState
//!   call --> quotas      until when the quotas that servers named hold calls up
//!        --> waiters     the queue, and what it costs together
//!        --> tokens      leased slots, this worker's own share, and until when the bucket is closed
//!            calls       when Redis is called: idle, asked, calling, backing off; alone or not
//!            asker       how the worker is asked to call
//! ```
//!
//! A waiter is in one of four states.
//!
//! ```text
//!                          its slots are open
//!    join    +---------+ ------------------------> +---------+   spend
//!   -------> | waiting |                           | granted | -------> it sends, and leaves
//!            +---------+ <------------------------ +---------+
//!              |     ^     polled or spent too       |     |
//!              |     |     late: slots expired,      |     | pass
//!              |     |     or the bucket closed      |     v
//!              |     |                               |   +------+
//!              |     +-------------------------------|-- | away |
//!              |            polled again             |   +------+
//!              v                                     v
//!            +------------------------------------------+
//!            |                 rejected                 |
//!            +------------------------------------------+
//!              its deadline passed or cannot be kept; the bucket closed, and a retry is outside;
//!              Redis is away for longer than its patience
//! ```
//!
//! *Invariant.* Only waiters that are *waiting* are in the queue, and the queue's cost is their
//! total cost. A slot is in one place: leased and free, part of one grant, or gone. A grant of slots
//! is good until its first slot expires, and only while the bucket is not closed again. There is one
//! call to Redis at a time: see [`calls`].
//!
//! *Example.* With 100 tokens per second and a burst of 20, slots are 10 ms apart, and each is good
//! for a lease of 100 ms. Four slots are leased. They open at 10, 20, 30 and 40 ms. Three waiters
//! A, B and C cost 1, 2 and 1.
//!
//! | at | | waiting | cost | leased |
//! |---|---|---|---|---|
//! | 0 ms | A, B and C join. | A, B, C | 4 | 4 |
//! | 10 ms | A is granted the first slot, until 110 ms. | B, C | 3 | 3 |
//! | 30 ms | B is granted two slots, as the second of them opens. The first expires at 120 ms. | C | 1 | 1 |
//! | 40 ms | C is granted the last slot. | | 0 | 0 |
//! | 105 ms | B sends, and leaves. | | 0 | 0 |
//! | 110 ms | A is polled too late, and waits again, ahead of later calls. | A | 1 | 0 |
//! | 120 ms | C is dropped, and gives its slot back. A is granted it, until 140 ms. | | 0 | 0 |
//!
//! *Why.* A waiter that has a grant is out of the queue. So if it is not polled, it holds up no
//! other waiter. A slot is never kept beyond its lease: the bound on all workers together depends
//! on that.

mod calls;
mod closing;
mod exchange;
mod forecast;
mod leased;
mod local;
#[cfg(test)]
mod tests;
mod tokens;
mod waiters;

use std::{num::NonZeroU32, sync::Arc, task::Waker, time::Duration};

use courteous_core::{Rate, RejectReason, Rejected};
use courteous_limit::{
    Ask, KeptWaker, Next, PollOutcome, Quotas, Serve, Shared, Spread, Target, Ticket, TokenQueue,
    ToldQuota, Wakes,
};
use tokio::time::Instant;

pub(crate) use self::calls::STALLED_AFTER;
use self::{
    calls::{Calls, Due, Needs},
    tokens::{Grant, Tokens},
    waiters::{State, Waiter, Waiters},
};
use crate::{
    keys::Keys,
    outage::Outage,
    pending_calls::{Asker, PendingCalls},
};

/// The state of a bucket. The caller passes it the time.
#[derive(Debug)]
pub(crate) struct BucketState {
    pub(crate) rate: Rate,
    /// How far a closed bucket spreads the instants at which calls may try again.
    pub(crate) spread: Spread,
    /// The named quotas that the server stated to this worker. Redis is not told of them.
    quotas: Quotas,
    waiters: Waiters,
    pub(crate) tokens: Tokens,
    pub(crate) calls: Calls,
    /// The names of the schedule's keys in Redis.
    pub(crate) keys: Arc<Keys>,
    asker: Asker<Shared<Self>>,
}

impl BucketState {
    pub(crate) fn shared(
        rate: Rate,
        outage: Outage,
        longest_call: Duration,
        pending: &Arc<PendingCalls<Shared<Self>>>,
        keys: Keys,
        now: Instant,
    ) -> Arc<Shared<Self>> {
        Arc::new_cyclic(|bucket| {
            Shared::new(Self {
                rate,
                spread: Spread::default(),
                quotas: Quotas::new(),
                waiters: Waiters::new(),
                tokens: Tokens::new(rate, outage, now),
                calls: Calls::new(longest_call, outage.terms(rate), now),
                keys: Arc::new(keys),
                asker: Asker::new(Arc::clone(pending), bucket.clone()),
            })
        })
    }

    /// Goes on with another rate, or another choice for an outage.
    pub(crate) fn set(&mut self, rate: Rate, outage: Outage, now: Instant) {
        if (rate, outage) == (self.rate, self.tokens.outage()) {
            // A new share would start empty.
            return;
        }
        self.rate = rate;
        self.tokens.set(rate, outage, now);
        self.calls.set_terms(outage.terms(rate));
    }

    /// Notes the named quotas that a response stated.
    pub(crate) fn hear(&mut self, target: Target, told: &[ToldQuota], now: Instant) {
        self.quotas.hear(target, told, now);
    }

    /// How many calls wait, in the queue or for a quota.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len() + self.quotas.waiting()
    }

    /// Closes the bucket, and has a call tell Redis.
    pub(crate) fn close_until(&mut self, opens: Instant, now: Instant, wakes: &mut Wakes) {
        if self.shut(opens, now, wakes) {
            self.calls.close(opens);
        }
    }

    /// Closes the bucket here: all slots that open before `opens` are void. Returns whether that
    /// made a difference.
    fn shut(&mut self, opens: Instant, now: Instant, wakes: &mut Wakes) -> bool {
        self.settle(now);
        if !self.tokens.close(opens, now) {
            return false;
        }
        let release = self.spread.crowd_after(opens);
        self.waiters.reject(wakes, |waiter, _| {
            waiter.retried.then(|| (RejectReason::Paused, release()))
        });
        drop(release);
        self.look(now, wakes);
        true
    }

    pub(crate) fn closed_until(&mut self, now: Instant) -> Option<Instant> {
        self.settle(now);
        self.tokens.closed_until()
    }

    /// When the last quota opens, of those that the server says are used up.
    pub(crate) fn used_up_until(&self, now: Instant) -> Option<Instant> {
        self.quotas.used_up_until(now)
    }

    /// Whether this bucket knows nothing that Redis does not know.
    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        self.settle(now);
        self.waiters.is_unused()
            && self.quotas.is_quiet()
            && self.quotas.waiting() == 0
            && self.tokens.is_idle(now)
            && self.calls.is_idle(now)
    }

    /// Lets the time pass.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.quotas.settle(now);
        self.tokens.settle(now);
    }

    /// Sets tokens aside for a request. If there are none, returns when there will be some, if that
    /// is known.
    fn set_aside(&mut self, cost: u32, now: Instant) -> Result<Grant, Option<Instant>> {
        match self.tokens.set_aside(cost, now) {
            Err(at) if self.calls.is_alone() => {
                self.calls.missed(cost);
                self.tokens.set_aside_alone(cost, at, now)
            }
            found => found,
        }
    }

    /// Puts a waiter back into the queue, at the place of its age.
    fn rejoin(&mut self, ticket: &Ticket, now: Instant) {
        let max_cost = self.calls.terms().max_cost();
        let waiter = self.waiters.get_mut(ticket);
        if let Some(opens) = self.tokens.closed_until()
            && waiter.retried
        {
            let release = self.spread.after(opens);
            waiter.state = State::Rejected(RejectReason::Paused, release);
            return;
        }
        // The rate was changed since, while the waiter was out of the queue.
        if waiter.cost > max_cost {
            waiter.state = State::Rejected(RejectReason::CostAboveBurst, now);
            return;
        }
        let latest = waiter.latest;
        self.waiters.requeue(ticket);
        let vain = self.vain_at(latest, now);
        self.waiters.looks.by(vain);
    }

    /// The state of the calls to Redis, and the needs on which the next call depends.
    fn calls_and_needs(&mut self) -> (&mut Calls, Needs<'_>) {
        let needs = Needs {
            front: self.waiters.front_cost(),
            waiting: self.waiters.cost(),
            leased: self.tokens.leased(),
            closed_until: self.tokens.closed_until(),
        };
        (&mut self.calls, needs)
    }

    /// Has Redis called if a call is due. Otherwise returns when a call will be due.
    fn call_if_due(&mut self, now: Instant) -> Option<Instant> {
        let (calls, needs) = self.calls_and_needs();
        match calls.ask_if_due(needs, now) {
            Due::Now => {
                self.asker.ask(now);
                None
            }
            Due::At(at) => Some(at),
            Due::Never => None,
        }
    }

    /// Grants turns to the waiters at the front. Returns when the next turn can be granted, if that
    /// is known.
    fn grant(&mut self, now: Instant, wakes: &mut Wakes) -> Option<Instant> {
        while let Some(cost) = self.waiters.front_cost() {
            if let Some(opens) = self.tokens.closed_until() {
                return Some(opens);
            }
            match self.set_aside(cost, now) {
                Ok(grant) => self.waiters.grant_front(grant, wakes),
                Err(at) => return at,
            }
        }
        None
    }
}

impl TokenQueue for BucketState {
    fn arrive(&mut self, ask: &Ask, now: Instant) {
        self.settle(now);
        self.calls.demand(ask.cost(), now);
    }

    fn try_take(&mut self, ask: &Ask, now: Instant) -> bool {
        let taken = self.tokens.closed_until().is_none()
            && self.waiters.is_empty()
            && self
                .set_aside(ask.cost(), now)
                .is_ok_and(|grant| self.tokens.send(grant, now));
        if taken {
            self.call_if_due(now);
        }
        taken
    }

    fn join(&mut self, ask: &Ask, now: Instant) -> Result<Ticket, Rejected> {
        if let Some(rejected) = self.rejection(ask, now) {
            if matches!(
                rejected.reason(),
                RejectReason::AtCapacity
                    | RejectReason::MaxWait
                    | RejectReason::Deadline
                    | RejectReason::Unavailable
            ) {
                self.calls.missed(ask.cost());
                self.call_if_due(now);
            }
            return Err(rejected);
        }
        let ticket = self.waiters.push(Waiter::new(ask));
        let vain = self.vain_at(ask.latest(), now);
        self.waiters.looks.by(vain);
        self.call_if_due(now);
        Ok(ticket)
    }

    fn queued(&self) -> usize {
        self.waiters.len()
    }

    fn quotas(&mut self) -> (&mut Quotas, &Spread) {
        (&mut self.quotas, &self.spread)
    }

    /// A waiter that was granted its turn needs neither the clock nor the timer.
    fn poll_cheap(
        &mut self,
        ticket: &Ticket,
        _: &mut Option<Waker>,
        _: &dyn Fn() -> bool,
    ) -> Option<PollOutcome> {
        let waiter = self.waiters.get(ticket);
        let granted = matches!(waiter.state, State::Granted(_)) && waiter.latest.is_none();
        (granted && self.quotas.is_quiet()).then_some(PollOutcome::Granted)
    }

    fn poll_waiter(
        &mut self,
        ticket: &Ticket,
        waker: &mut Option<Waker>,
        now: Instant,
        wakes: &mut Wakes,
    ) -> PollOutcome {
        self.settle(now);
        match self.waiters.get(ticket).state {
            State::Away => self.rejoin(ticket, now),
            State::Granted(grant) if !self.tokens.is_good(grant, now) => {
                self.tokens.put_back(grant, now);
                self.rejoin(ticket, now);
            }
            _ => {}
        }
        self.serve(now, wakes);
        let waiter = self.waiters.get_mut(ticket);
        let late = waiter.latest.filter(|&(latest, _)| latest < now);
        let late = late.map(|(_, reason)| reason);
        match (waiter.state, late) {
            (State::Granted(_), None) => PollOutcome::Granted,
            (State::Granted(grant), Some(reason)) => {
                // The waiter is polled too late.
                waiter.state = State::Rejected(reason, now);
                self.tokens.put_back(grant, now);
                PollOutcome::Rejected(self.rejected(reason, now, now))
            }
            (State::Rejected(RejectReason::CostAboveBurst, _), _) => {
                let cost = waiter.cost;
                PollOutcome::Rejected(self.above_burst(cost))
            }
            (State::Rejected(reason, at), _) => {
                PollOutcome::Rejected(self.rejected(reason, at, now))
            }
            (State::Waiting | State::Away, None) => {
                waiter.waker.keep(waker);
                PollOutcome::Waiting
            }
            (State::Waiting | State::Away, Some(reason)) => {
                let reason = match self.calls.is_unavailable(now) {
                    true => RejectReason::Unavailable,
                    false => reason,
                };
                self.waiters.reject_one(ticket, reason, now);
                PollOutcome::Rejected(self.rejected(reason, now, now))
            }
        }
    }

    fn ask_of(&mut self, ticket: &Ticket) -> Ask {
        let waiter = self.waiters.get(ticket);
        let ask = Ask::new(NonZeroU32::MIN).with_cost(0, waiter.cost);
        let ask = ask.with_retried(waiter.retried);
        match waiter.latest {
            Some((latest, reason)) => ask.with_latest(latest, reason),
            None => ask,
        }
    }

    fn reject(&mut self, ticket: &Ticket, rejected: &Rejected, now: Instant) {
        let at = rejected.not_before().unwrap_or(now);
        let waiter = self.waiters.get_mut(ticket);
        let state = State::Rejected(rejected.reason(), at);
        if let State::Granted(grant) = std::mem::replace(&mut waiter.state, state) {
            self.tokens.put_back(grant, now);
        }
    }

    fn spend(&mut self, ticket: &Ticket, now: Instant) -> bool {
        self.settle(now);
        let State::Granted(grant) = self.waiters.get(ticket).state else {
            return false;
        };
        let sent = self.tokens.send(grant, now);
        if !sent {
            self.tokens.put_back(grant, now);
            self.rejoin(ticket, now);
        }
        sent
    }

    fn pass(&mut self, ticket: &Ticket, now: Instant) {
        let waiter = self.waiters.get_mut(ticket);
        if let State::Granted(grant) = waiter.state {
            waiter.state = State::Away;
            self.tokens.put_back(grant, now);
        }
    }

    fn leave(&mut self, ticket: Ticket, sent: bool, now: Instant) -> (u32, KeptWaker) {
        let waiter = self.waiters.remove(ticket);
        if let State::Granted(grant) = waiter.state
            && !sent
        {
            self.tokens.put_back(grant, now);
        }
        (waiter.cost, waiter.waker)
    }
}

impl Serve for BucketState {
    fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> Next {
        self.settle(now);
        let mut turn = self.grant(now, wakes);
        if self.waiters.looks.begin(self.waiters.len(), now) {
            self.look(now, wakes);
            turn = self.grant(now, wakes);
        }
        if self.calls.stalled_at().is_some_and(|at| at <= now) {
            // The waiters are woken. A waiter that is polled then has its own runtime make the
            // call.
            self.rouse(wakes);
        }
        let due = self.call_if_due(now);
        if self.waiters.is_empty() {
            self.waiters.looks.none();
            return Next::Nothing;
        }
        let look = self.waiters.looks.due();
        let next = [turn, due, look, self.calls.stalled_at()];
        let next = next.into_iter().flatten().min();
        next.map_or(Next::Event, Next::At)
    }

    fn rouse(&mut self, wakes: &mut Wakes) {
        self.waiters.rouse(wakes);
    }
}
