//! The state of a bucket: its waiters, its leased slots, and when Redis is called. The caller
//! passes it the time.
//!
//! ```text
//!                          its slots are open
//!    take    +---------+ ------------------------> +---------+   spend
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
//! *Invariant.* Only waiters that are *waiting* are in the queue, and `queued_cost` is their total
//! cost. A slot is in one place: leased and free, part of one grant, or gone. A grant of slots is
//! good until its first slot expires, and only while the bucket is not closed again.
//!
//! *Example.* With 100 tokens per second and a burst of 20, slots are 10 ms apart, and each is good
//! for a lease of 100 ms. Four slots are leased. They open at 10, 20, 30 and 40 ms. Three waiters
//! A, B and C cost 1, 2 and 1.
//!
//! | at | |
//! |---|---|
//! | 10 ms | A is granted the first slot, until 110 ms. |
//! | 30 ms | B is granted two slots, as the second of them opens. The first expires at 120 ms. |
//! | 40 ms | C is granted the last slot. |
//! | 105 ms | B sends, and leaves. |
//! | 110 ms | A is polled too late, and waits again, ahead of later calls. |
//! | 120 ms | C is dropped, and gives its slot back. A is granted it, until 140 ms. |
//!
//! *Why.* A waiter that has a grant is out of the queue. So if it is not polled, it holds up no
//! other waiter. A slot is never kept beyond its lease: the bound on all workers together depends
//! on that.

mod closing;
mod exchange;
mod grant;
mod looks;
mod reject;

use std::{
    num::NonZeroU32,
    sync::{Arc, Weak},
    task::Waker,
    time::Duration,
};

use courteous_core::{Dice, Rate, RejectReason, Rejected};
use courteous_limit::{Admission, Ask, Quotas, Target, ToldQuota};
use courteous_limit::{Next, Queue, Serve, Shared, Ticket, Wakes};
use tokio::time::Instant;

use self::{closing::Closing, looks::Looks};
use crate::{
    calls::{Calls, Due, Needs},
    keys::Keys,
    leased::LeasedSlots,
    local::{Local, later},
    outage::Outage,
    pending_calls::PendingCalls,
    waiter::{State, Waiter},
};

/// The state of a bucket. The caller passes it the time.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) rate: Rate,
    pub(crate) outage: Outage,
    /// How far a closed bucket spreads the instants at which calls may try again.
    pub(crate) jitter: Duration,
    pub(crate) dice: Dice,
    /// The tokens that are available while Redis is away.
    pub(crate) local: Option<Local>,
    pub(crate) queue: Queue<Waiter>,
    /// The total cost of all waiters in the queue.
    pub(crate) queued_cost: u64,
    pub(crate) leased: LeasedSlots,
    /// Until when the bucket is closed.
    closing: Closing,
    /// The named quotas that the server stated to this worker. Redis is not told of them.
    pub(crate) quotas: Option<Box<Quotas>>,
    pub(crate) calls: Calls,
    /// The names of the schedule's keys in Redis.
    pub(crate) keys: Arc<Keys>,
    /// When to look for waiters that cannot be served in time.
    looks: Looks,
    /// The list of buckets for which Redis is to be called.
    pending: Arc<PendingCalls<Shared<Self>>>,
    me: Weak<Shared<Self>>,
}

/// The answer to a call that asks for tokens.
pub(crate) enum Answer {
    Taken,
    Queued(Ticket),
    /// The call waits outside the queue, because a quota that it counts against is used up or is to
    /// be spread.
    Held(Instant),
    Rejected(Rejected),
}

/// The answer to a waiter that is polled.
pub(crate) enum Polled {
    Granted,
    Waiting,
    /// The waiter was granted its turn, but a quota that its call counts against is used up until
    /// then. The waiter leaves the queue.
    Held(Instant, Ask),
    Rejected(Rejected),
}

impl Core {
    pub(crate) fn shared(
        rate: Rate,
        outage: Outage,
        longest_call: Duration,
        pending: &Arc<PendingCalls<Shared<Self>>>,
        keys: Keys,
        now: Instant,
    ) -> Arc<Shared<Self>> {
        Arc::new_cyclic(|me| {
            Shared::new(Self {
                rate,
                outage,
                jitter: Duration::from_secs(1),
                dice: Dice::new(),
                local: outage.local(rate, now),
                queue: Queue::new(),
                queued_cost: 0,
                leased: LeasedSlots::default(),
                closing: Closing::default(),
                quotas: None,
                calls: Calls::new(longest_call, outage.terms(rate), now),
                keys: Arc::new(keys),
                looks: Looks::default(),
                pending: Arc::clone(pending),
                me: me.clone(),
            })
        })
    }

    /// Goes on with another rate, or another choice for an outage.
    pub(crate) fn set(&mut self, rate: Rate, outage: Outage, now: Instant) {
        if (rate, outage) == (self.rate, self.outage) {
            // A new share would start empty.
            return;
        }
        self.rate = rate;
        self.outage = outage;
        self.local = outage.local(rate, now);
        self.calls.set_terms(outage.terms(rate));
    }

    /// Takes tokens, or a place among the waiters. Also returns whether the call was counted by a
    /// quota that is to be spread.
    pub(crate) fn take(&mut self, ask: &Ask, now: Instant) -> (Answer, bool) {
        let Self {
            quotas,
            queue,
            jitter,
            dice,
            ..
        } = self;
        let admission = match quotas {
            None => Admission::Free { paced: false },
            Some(quotas) => quotas.admit(ask, queue.len(), || jitter.mul_f64(dice.fraction()), now),
        };
        let paced = match admission {
            Admission::Free { paced } => paced,
            Admission::Held { until, paced } => return (Answer::Held(until), paced),
            Admission::Rejected(rejected) => return (Answer::Rejected(rejected), false),
        };
        let answer = self.enter(ask, now);
        if paced && matches!(answer, Answer::Rejected(_)) {
            self.unspend(ask.target(), ask.cost());
            return (answer, false);
        }
        (answer, paced)
    }

    /// Answers a call that has waited for a quota: with another wait, or tokens, or a place in the
    /// queue.
    pub(crate) fn release(&mut self, ask: &Ask, now: Instant) -> Answer {
        self.leave_quota();
        match self.readmit(ask, now) {
            Admission::Held { until, .. } => Answer::Held(until),
            Admission::Rejected(rejected) => Answer::Rejected(rejected),
            // The call was let in before, so no queue is too long for it now.
            Admission::Free { .. } => {
                let ask = ask.with_max_waiting(usize::MAX);
                self.settle(now);
                self.calls.demand(ask.cost(), now);
                match self.refusal(&ask, now) {
                    Some(rejected) => Answer::Rejected(rejected),
                    None => Answer::Queued(self.push(&ask, now)),
                }
            }
        }
    }

    /// Checks a call that was let in before against its quotas.
    fn readmit(&mut self, ask: &Ask, now: Instant) -> Admission {
        let Self {
            quotas,
            jitter,
            dice,
            ..
        } = self;
        match quotas {
            None => Admission::Free { paced: false },
            Some(quotas) => quotas.readmit(ask, || jitter.mul_f64(dice.fraction()), now),
        }
    }

    /// Whether a waiter that was granted its turn must wait for a quota after all, because the
    /// quota was used up meanwhile.
    pub(crate) fn recheck_quotas(
        &mut self,
        ticket: &Ticket,
        target: Option<Target>,
        now: Instant,
    ) -> Option<Polled> {
        self.quotas.as_ref()?.closed_until(target, now)?;
        let waiter = self.queue.get(ticket);
        let State::Granted(grant) = waiter.state else {
            return None;
        };
        let ask = Ask::new(NonZeroU32::MIN).with_cost(0, waiter.cost);
        let mut ask = ask.with_retried(waiter.retried);
        if let Some((latest, reason)) = waiter.latest {
            ask = ask.with_latest(latest, reason);
        }
        if let Some(target) = target {
            ask = ask.with_target(target);
        }
        match self.readmit(&ask, now) {
            Admission::Free { .. } => None,
            Admission::Held { until, .. } => Some(Polled::Held(until, ask)),
            Admission::Rejected(rejected) => {
                let at = rejected.not_before().unwrap_or(now);
                self.queue.get_mut(ticket).state = State::Rejected(rejected.reason(), at);
                self.put_back(grant, now);
                Some(Polled::Rejected(rejected))
            }
        }
    }

    /// Notes the named quotas that a response stated.
    pub(crate) fn hear(&mut self, target: Target, told: &[ToldQuota], now: Instant) {
        let quotas = self.quotas.get_or_insert_default();
        quotas.settle(now);
        quotas.hear(target, told, now);
    }

    /// Takes a call's cost back from the quotas that are to be spread.
    pub(crate) fn unspend(&mut self, target: Option<Target>, cost: u32) {
        if let Some(quotas) = &mut self.quotas {
            quotas.unspend(target, cost);
        }
    }

    /// Removes a call that waited for a quota.
    pub(crate) fn leave_quota(&mut self) {
        if let Some(quotas) = &mut self.quotas {
            quotas.leave();
        }
    }

    /// How many calls wait, in the queue or for a quota.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len() + self.quotas.as_ref().map_or(0, |quotas| quotas.waiting())
    }

    /// Takes tokens, or a place in the queue.
    fn enter(&mut self, ask: &Ask, now: Instant) -> Answer {
        let cost = ask.cost();
        self.settle(now);
        self.calls.demand(cost, now);
        if self.closing.is_open() && self.queue.is_empty() {
            let sent = self
                .set_aside(cost, now)
                .is_ok_and(|grant| self.send(grant, now));
            if sent {
                self.call_if_due(now);
                return Answer::Taken;
            }
        }
        if let Some(rejected) = self.refusal(ask, now) {
            if matches!(
                rejected.reason(),
                RejectReason::AtCapacity
                    | RejectReason::MaxWait
                    | RejectReason::Deadline
                    | RejectReason::Unavailable
            ) {
                self.calls.missed(cost);
                self.call_if_due(now);
            }
            return Answer::Rejected(rejected);
        }
        Answer::Queued(self.push(ask, now))
    }

    /// Adds a call to the queue.
    fn push(&mut self, ask: &Ask, now: Instant) -> Ticket {
        let cost = ask.cost();
        self.queued_cost += u64::from(cost);
        let ticket = self.queue.push_back(Waiter {
            waker: None,
            state: State::Waiting,
            cost,
            retried: ask.is_retried(),
            latest: ask.latest(),
        });
        let vain = self.vain_at(ask.latest(), now);
        self.looks.by(vain);
        self.call_if_due(now);
        ticket
    }

    /// Whether a waiter was granted its turn, and may use it at any time.
    pub(crate) fn is_granted(&self, ticket: &Ticket) -> bool {
        let waiter = self.queue.get(ticket);
        let quiet = self.quotas.as_ref().is_none_or(|quotas| quotas.is_quiet());
        matches!(waiter.state, State::Granted(_)) && waiter.latest.is_none() && quiet
    }

    /// Handles a waiter that is polled. If it has to wait, `waker` is kept, and the waiter's
    /// previous waker is left in `waker`.
    pub(crate) fn poll_waiter(
        &mut self,
        ticket: &Ticket,
        waker: &mut Option<Waker>,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Polled {
        self.settle(now);
        match self.queue.get(ticket).state {
            State::Away => self.rejoin(ticket, now),
            State::Granted(grant) if !self.is_good(grant, now) => {
                self.put_back(grant, now);
                self.rejoin(ticket, now);
            }
            _ => {}
        }
        self.serve(now, wakes);
        let unavailable = self.is_unavailable(now);
        let waiter = self.queue.get_mut(ticket);
        match waiter.state {
            State::Granted(grant) => {
                let late = waiter.latest.filter(|&(latest, _)| latest < now);
                let Some((_, reason)) = late else {
                    return Polled::Granted;
                };
                // The waiter is polled too late.
                waiter.state = State::Rejected(reason, now);
                self.put_back(grant, now);
                Polled::Rejected(self.rejected(reason, now, now))
            }
            State::Rejected(RejectReason::CostAboveBurst, _) => {
                let cost = waiter.cost;
                Polled::Rejected(self.above_burst(cost))
            }
            State::Rejected(reason, at) => Polled::Rejected(self.rejected(reason, at, now)),
            State::Waiting | State::Away => {
                if let Some((latest, reason)) = waiter.latest
                    && latest < now
                {
                    let reason = if unavailable {
                        RejectReason::Unavailable
                    } else {
                        reason
                    };
                    waiter.state = State::Rejected(reason, now);
                    self.queued_cost -= u64::from(waiter.cost);
                    self.queue.take(ticket);
                    return Polled::Rejected(self.rejected(reason, now, now));
                }
                waiter.keep(waker);
                Polled::Waiting
            }
        }
    }

    /// Uses the grant of a waiter to send. Returns `false` if the grant is too old: then the waiter
    /// waits again.
    pub(crate) fn spend(&mut self, ticket: &Ticket, now: Instant) -> bool {
        self.settle(now);
        let State::Granted(grant) = self.queue.get(ticket).state else {
            return false;
        };
        let sent = self.send(grant, now);
        if !sent {
            self.put_back(grant, now);
            self.rejoin(ticket, now);
        }
        sent
    }

    /// Takes a waiter's grant back, until the waiter is polled again.
    pub(crate) fn pass(&mut self, ticket: &Ticket, now: Instant) {
        let waiter = self.queue.get_mut(ticket);
        if let State::Granted(grant) = waiter.state {
            waiter.state = State::Away;
            self.put_back(grant, now);
        }
    }

    /// Removes a waiter. Gives its grant back, unless the call was `sent`. The waiter's waker must
    /// be dropped without the lock.
    #[must_use]
    pub(crate) fn leave(
        &mut self,
        ticket: Ticket,
        sent: bool,
        now: Instant,
    ) -> (u32, Option<Waker>) {
        let waiter = self.queue.remove(ticket);
        match waiter.state {
            State::Waiting => self.queued_cost -= u64::from(waiter.cost),
            State::Granted(grant) if !sent => self.put_back(grant, now),
            _ => {}
        }
        (waiter.cost, waiter.waker)
    }

    /// Closes the bucket, and has a call tell Redis.
    pub(crate) fn close_until(&mut self, opens: Instant, now: Instant, wakes: &mut Wakes) {
        if self.shut(opens, now, wakes) {
            self.calls.close(opens);
        }
    }

    /// Closes the bucket here: all slots that open before `opens` are void. Returns whether that
    /// made a difference.
    pub(crate) fn shut(&mut self, opens: Instant, now: Instant, wakes: &mut Wakes) -> bool {
        self.settle(now);
        if !self.closing.close(opens, now) {
            return false;
        }
        self.leased.void_before(opens);
        if let Some(local) = &mut self.local {
            local.hold(opens);
        }
        let Self {
            queue,
            queued_cost,
            jitter,
            dice,
            ..
        } = self;
        let roll = dice.rolls();
        queue.retain(|waiter| {
            if waiter.retried {
                let release = later(opens, draw(*jitter, roll()));
                waiter.state = State::Rejected(RejectReason::Paused, release);
                *queued_cost -= u64::from(waiter.cost);
                wakes.extend(waiter.waker.take());
            }
            !waiter.retried
        });
        drop(roll);
        self.look(now, wakes);
        true
    }

    pub(crate) fn closed_until(&mut self, now: Instant) -> Option<Instant> {
        self.settle(now);
        self.closing.until()
    }

    /// When the last quota opens, of those that the server says are used up.
    pub(crate) fn used_up_until(&self, now: Instant) -> Option<Instant> {
        self.quotas.as_ref()?.used_up_until(now)
    }

    /// Whether this bucket knows nothing that Redis does not know.
    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        self.settle(now);
        self.queue.tickets() == 0
            && self.closing.is_open()
            && self
                .quotas
                .as_ref()
                .is_none_or(|quotas| quotas.is_quiet() && quotas.waiting() == 0)
            && self.leased.is_empty()
            && self.calls.is_idle(now)
            && self.local.is_none_or(|local| local.is_full(now))
    }

    /// Draws a random jitter.
    pub(crate) fn draw(&self) -> Duration {
        draw(self.jitter, self.dice.roll())
    }

    /// Lets the time pass.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.closing.settle(now);
        if let Some(quotas) = &mut self.quotas {
            quotas.settle(now);
        }
        self.leased.purge(now);
    }

    /// Puts a waiter back into the queue, at the place of its age.
    fn rejoin(&mut self, ticket: &Ticket, now: Instant) {
        let max_cost = self.calls.terms().max_cost();
        let release = self.closing.until().map(|opens| later(opens, self.draw()));
        let waiter = self.queue.get_mut(ticket);
        if let Some(release) = release
            && waiter.retried
        {
            waiter.state = State::Rejected(RejectReason::Paused, release);
            return;
        }
        // The rate was changed since, while the waiter was out of the queue.
        if waiter.cost > max_cost {
            waiter.state = State::Rejected(RejectReason::CostAboveBurst, now);
            return;
        }
        waiter.state = State::Waiting;
        self.queued_cost += u64::from(waiter.cost);
        let latest = waiter.latest;
        self.queue.requeue(ticket);
        self.looks.by(self.vain_at(latest, now));
        self.looks.not_before(now);
    }

    /// The state of the calls to Redis, and the needs on which the next call depends.
    fn calls_and_needs(&mut self) -> (&mut Calls, Needs<'_>) {
        let needs = Needs {
            front: self.queue.front().map(|front| front.cost),
            waiting: self.queued_cost,
            leased: &self.leased,
            closed_until: self.closing.until(),
        };
        (&mut self.calls, needs)
    }

    /// Has Redis called if a call is due. Otherwise returns when a call will be due.
    fn call_if_due(&mut self, now: Instant) -> Option<Instant> {
        let (calls, needs) = self.calls_and_needs();
        match calls.ask_if_due(needs, now) {
            Due::Now => {
                self.pending.push(self.me.clone(), now);
                None
            }
            Due::At(at) => Some(at),
            Due::Never => None,
        }
    }

    /// Grants turns to the waiters at the front. Returns when the next turn can be granted, if that
    /// is known.
    fn grant(&mut self, now: Instant, wakes: &mut Wakes) -> Option<Instant> {
        while let Some(cost) = self.queue.front().map(|front| front.cost) {
            if !self.closing.is_open() {
                return self.closing.until();
            }
            let grant = match self.set_aside(cost, now) {
                Ok(grant) => grant,
                Err(at) => return at,
            };
            if let Some(front) = self.queue.take_front() {
                self.queued_cost -= u64::from(cost);
                front.state = State::Granted(grant);
                wakes.extend(front.waker.take());
            }
        }
        None
    }
}

impl Serve for Core {
    fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> Next {
        self.settle(now);
        let mut turn = self.grant(now, wakes);
        if self.look_if_due(now, wakes) {
            turn = self.grant(now, wakes);
        }
        if self.calls.stalled_at().is_some_and(|at| at <= now) {
            // The waiters are woken. A waiter that is polled then has its own runtime make the
            // call.
            self.rouse(wakes);
        }
        let due = self.call_if_due(now);
        if self.queue.is_empty() {
            self.looks.none();
            return Next::Nothing;
        }
        let stalled = self.calls.stalled_at();
        let next = [turn, due, self.looks.due(), stalled]
            .into_iter()
            .flatten()
            .min();
        next.map_or(Next::Event, Next::At)
    }

    fn rouse(&mut self, wakes: &mut Wakes) {
        wakes.extend(
            self.queue
                .values_mut()
                .filter_map(|waiter| waiter.waker.take()),
        );
    }
}

fn draw(jitter: Duration, roll: u64) -> Duration {
    jitter.mul_f64(Dice::fraction_of(roll))
}
