//! One bucket under its lock: the tokens, and the calls that wait for them.
//!
//! ```text
//! take -- tokens are there, and no call waits -------------------------> sent
//!   |                                                                     ^
//!   +--> Waiting ----- at the front, tokens are set aside ---> Granted ---+ polled, spends them
//!         ^  |                                                  | | |
//!         |  +--> Rejected: the bucket closes, or the           | | +--> Rejected: polled too late
//!         |       wait has become too long                      | |
//!         |                                                     | +-- its service is not ready,
//!         |                                                     |     gives them back: Away --+
//!         |                                                     +---- an older one missed its |
//!         |                                                           grant: Recalled --------+
//!         |                                                                                   |
//!         +-------------- polled: back in the queue, at the place of its age <----------------+
//! ```
//!
//! A waiter that is granted its turn is woken, and is out of the queue. Its tokens are *set aside*,
//! and not spent: a send spends them.
//!
//! # Invariant
//!
//! - Sends pay from the *true* level, and grants from the *planned* one. Both refill at the rate.
//!   `planned <= true <= burst`, so in any window `w` at most `burst + rate * w` tokens are sent.
//! - After each [`serve`](Serve::serve), the front of the queue cannot pay from the planned level,
//!   or is held until a later instant. The returned instant is when that changes.
//! - A waiter keeps its age until it leaves for good. It never sends before an older waiter that is
//!   in the queue.
//!
//! # Example
//!
//! 10 tokens a second, a burst of 1, one token for each call.
//!
//! | at | what happens | true | planned | queue |
//! |---|---|---|---|---|
//! | 0 ms | A calls, and is sent | 0 | 0 | |
//! | 10 ms | B, C and D call, and wait; the timer is set to 100 ms | 0.1 | 0.1 | B C D |
//! | 100 ms | B is granted its turn, and woken. Its task is busy elsewhere | 1 | 0 | C D |
//! | 200 ms | C is granted the next token, is polled, and is sent | 0 | 0 | D |
//! | 250 ms | B is polled, the true level cannot pay: it waits, before D | 0.5 | 0.5 | B D |
//! | 300 ms | B is granted its turn, is polled, and is sent | 0 | 0 | D |
//! | 400 ms | the same for D | 0 | 0 | |
//!
//! # Why two levels
//!
//! If a grant spent its tokens, a waiter that is never polled would take them away for good. If a
//! grant did not count, all waiters would be woken for one token. With a level for each, a late
//! waiter holds up no other, and the bound on sends does not depend on when tasks are polled.

use std::{num::NonZeroU32, sync::Arc, task::Waker, time::Duration};

use courteous_core::{RejectReason, Rejected};
use courteous_limit::{
    Ask, BucketSnapshot, ChargeId, KeptWaker, LimitId, Looks, Next, Observed, PollOutcome, Quotas,
    Serve, Settled, Spread, Target, Ticket, TokenQueue, ToldQuota, Wakes, later,
};
use tokio::time::Instant;

use crate::{
    Rate,
    levels::Levels,
    meter::Costs,
    shadow::{Shadow, Virtual, VirtualQueue},
    waiter::{State, Waiter},
    waiters::Waiters,
};

/// How long waiters that are let through together may take to gather.
const GATHER: Duration = Duration::from_millis(2);

/// A bucket that is told the time.
#[derive(Debug)]
pub(crate) struct BucketState {
    levels: Levels,
    pub(crate) settings: Arc<BucketSettings>,
    waiters: Waiters,
    /// What the server said of quotas that it names. Kept while the bucket is at rest.
    pub(crate) quotas: Quotas,
    /// When to look for waits that have become too long because waiters were put back.
    looks: Looks,
    /// The virtual tokens, for calls that are only observed. While there is a shadow, the bucket is
    /// not at rest.
    shadow: Option<Box<Shadow<Self>>>,
    /// The limits whose rates were set for this bucket alone, one bit for each. Forgotten while the
    /// bucket is at rest.
    own_rates: u8,
}

/// What the buckets of all keys have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct BucketSettings {
    /// How far a closed bucket spreads the instants at which it lets calls through.
    pub(crate) spread: Spread,
    /// Whether several keys share the bucket. What a server says is then ignored.
    pub(crate) shared: bool,
}

impl BucketState {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self::at(rate, 0, now, Arc::default())
    }

    /// A bucket that lacked `lacking` of a meter's fractions at `at`, and has no other state.
    pub(crate) fn at(
        rate: Rate,
        lacking: u128,
        at: Instant,
        settings: Arc<BucketSettings>,
    ) -> Self {
        Self {
            levels: Levels::new(rate, lacking, at),
            settings,
            waiters: Waiters::new(),
            quotas: Quotas::new(),
            looks: Looks::new(),
            shadow: None,
            own_rates: 0,
        }
    }

    /// A full bucket with the same rates and jitter.
    pub(crate) fn fresh(&self, now: Instant) -> Self {
        let mut state = Self::at(self.first_rate(), 0, now, Arc::clone(&self.settings));
        state.levels = self.levels.fresh(now);
        state
    }

    /// What would become of a call that is only observed.
    pub(crate) fn observe(&mut self, ask: &Ask, now: Instant) -> Observed {
        self.shadow(now).take(ask, now)
    }

    /// The bucket of virtual tokens. If there is none, it is made with the tokens that are there
    /// now.
    pub(crate) fn shadow(&mut self, now: Instant) -> &mut Shadow<Self> {
        self.levels.fill(now);
        self.shadow.get_or_insert_with(|| {
            let mut state = Self::at(self.levels.first(), 0, now, Arc::clone(&self.settings));
            state.levels = self.levels.clone();
            Box::new(Shadow::new(state, now))
        })
    }

    /// The bucket of virtual tokens, if there is one.
    pub(crate) fn known_shadow(&mut self) -> Option<&mut Shadow<Self>> {
        self.shadow.as_deref_mut()
    }

    /// Drops the shadow, once a new one would have the same virtual tokens.
    fn forget_shadow(&mut self, now: Instant) {
        self.shadow.take_if(|shadow| shadow.at(now).is_idle(now));
    }

    /// Takes note of what a response said of quotas that it names.
    pub(crate) fn hear(&mut self, target: Target, told: &[ToldQuota], now: Instant) {
        if self.settings.shared {
            return;
        }
        self.quotas.hear(target, told, now);
    }

    /// The rejection of a call that costs more than a limit can ever hold.
    fn above_burst(&self, costs: &Costs) -> Rejected {
        match self.levels.above_burst(costs) {
            Some((cost, rate)) => Rejected::above_burst(cost, rate.burst().get(), rate),
            // The rate was changed again meanwhile.
            None => Rejected::new(RejectReason::CostAboveBurst),
        }
    }

    fn granted(&mut self, ticket: &Ticket) -> PollOutcome {
        match self.waiters.is_early(ticket) {
            true => PollOutcome::Early,
            false => PollOutcome::Granted,
        }
    }

    /// Closes the bucket. It opens with at most one token, so that the waiters do not leave in a
    /// burst.
    pub(crate) fn close_until(&mut self, opens: Instant, now: Instant, wakes: &mut Wakes) {
        if let Some(shadow) = &mut self.shadow {
            shadow.at(now).close_until(opens, now, &mut Wakes::new());
        }
        self.levels.fill(now);
        if self.settings.shared {
            return;
        }
        if opens <= now || self.levels.closed_until.is_some_and(|until| opens <= until) {
            return;
        }
        self.levels.close_until(opens);
        let release = self.settings.spread.crowd_after(opens);
        self.waiters
            .release_at((0..self.waiters.len()).map(|_| release()).collect());
        drop(release);
        self.waiters.reject(wakes, |waiter, _| {
            let at = waiter.release.unwrap_or(opens);
            waiter.retried.then_some((RejectReason::Paused, at))
        });
        self.look(now, wakes);
    }

    /// Slows down, so that the server's quota lasts until its reset.
    pub(crate) fn pace(
        &mut self,
        remaining: u64,
        reset: Duration,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        self.levels.fill(now);
        if self.settings.shared {
            return;
        }
        self.levels.pace(remaining, reset, now);
        self.look(now, wakes);
    }

    /// Counts a call that was sent as `actual` tokens of a limit.
    pub(crate) fn settle(
        &mut self,
        charge: ChargeId,
        limit: usize,
        actual: u32,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Option<Settled> {
        self.levels.fill(now);
        let settled = self.levels.settle(charge, limit, actual);
        if self.waiters.bounded && settled.is_some_and(|settled| settled.charged() > 0) {
            // All waiters wait longer now.
            self.look(now, wakes);
        }
        settled
    }

    /// Counts a call that was sent as `tokens` of a limit, if it counts as fewer so far.
    pub(crate) fn settle_at_least(
        &mut self,
        charge: ChargeId,
        limit: usize,
        tokens: u32,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Option<Settled> {
        let counted = self.levels.counted(charge, limit)?;
        self.settle(charge, limit, counted.max(tokens), now, wakes)
    }

    /// Forgets a call that was sent. The last number that was counted for it stands.
    pub(crate) fn forget(&mut self, charge: ChargeId) {
        self.levels.forget(charge);
    }

    /// Sets other rates of a limit. The tokens that are there stay.
    pub(crate) fn set_rates(&mut self, limit: u8, rates: &[Rate], now: Instant, wakes: &mut Wakes) {
        if let Some(shadow) = &mut self.shadow {
            shadow
                .at(now)
                .set_rates(limit, rates, now, &mut Wakes::new());
        }
        self.levels.fill(now);
        self.levels.set_rates(limit, rates);
        self.look(now, wakes);
    }

    /// Adds a rate to a limit. No token of it has been spent yet.
    pub(crate) fn add_rate(&mut self, limit: u8, rate: Rate, now: Instant, wakes: &mut Wakes) {
        if let Some(shadow) = &mut self.shadow {
            shadow.at(now).add_rate(limit, rate, now, &mut Wakes::new());
        }
        self.levels.fill(now);
        self.levels.add(limit, rate);
        self.look(now, wakes);
    }

    /// Sets whether a limit's rates belong to this bucket alone, and not to all keys.
    pub(crate) fn set_own_rates(&mut self, limit: u8, own: bool) {
        let bit = 1_u8.checked_shl(limit.into()).unwrap_or_default();
        match own {
            true => self.own_rates |= bit,
            false => self.own_rates &= !bit,
        }
    }

    /// Whether the rates of any limit belong to this bucket alone.
    pub(crate) const fn has_own_rates(&self) -> bool {
        self.own_rates != 0
    }

    /// Takes all tokens out.
    pub(crate) fn empty(&mut self, now: Instant) {
        if let Some(shadow) = &mut self.shadow {
            shadow.at(now).empty(now);
        }
        self.levels.fill(now);
        self.levels.empty();
    }

    /// The only rate, how much it lacks, and at which instant. `None` if there is any other state,
    /// such as a waiter or something that the server said.
    pub(crate) fn at_rest(&self) -> Option<(Rate, u128, Instant)> {
        let free = self.waiters.is_unused() && self.quotas.is_quiet() && self.shadow.is_none();
        self.levels.at_rest().filter(|_| free)
    }

    pub(crate) const fn first_rate(&self) -> Rate {
        self.levels.first()
    }

    /// All rates, each with the number of its limit.
    pub(crate) fn all_rates(&self) -> impl Iterator<Item = (u8, Rate)> {
        self.levels.all_rates()
    }

    /// The rates of one limit.
    pub(crate) fn rates(&self, limit: u8) -> impl Iterator<Item = Rate> {
        self.levels.rates(limit)
    }

    pub(crate) fn available(&mut self, limit: u8, now: Instant) -> u32 {
        self.levels.fill(now);
        self.levels.available(limit)
    }

    /// What is in force now.
    pub(crate) fn snapshot(&mut self, now: Instant) -> BucketSnapshot {
        self.levels.fill(now);
        let used_up = self.quotas.used_up_until(now);
        let mut bucket = BucketSnapshot::default();
        bucket.available = Some(self.levels.fewest());
        bucket.available_by_rate = self.levels.available_by_rate();
        bucket.waiting = self.waiting();
        bucket.until(self.levels.closed_until, used_up, now)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len() + self.quotas.waiting()
    }

    pub(crate) fn closed_until(&mut self, now: Instant) -> Option<Instant> {
        self.levels.fill(now);
        self.levels.closed_until
    }

    /// Whether a new bucket would do the same.
    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        self.forget_shadow(now);
        self.levels.fill(now);
        self.quotas.settle(now);
        let held = !self.quotas.is_quiet() || self.quotas.waiting() > 0;
        self.waiters.is_unused() && !held && self.levels.is_idle() && self.shadow.is_none()
    }

    /// One draw of jitter.
    pub(crate) fn draw(&self) -> Duration {
        self.settings.spread.draw()
    }

    /// When to serve `front`, and the waiters behind it.
    ///
    /// A crowd is let through in groups, as each ring of the timer costs more than letting one
    /// waiter through. A group gathers for [`GATHER`] at most, and not at all if that could be too
    /// long for `front`. A group takes at most a quarter of the burst, so a late timer costs no
    /// tokens.
    fn next_turn(&self, now: Instant, front: &Waiter) -> Instant {
        let none = [0; LimitId::MOST];
        let costs = front.costs();
        let at = self.levels.turn(now, &none, &costs);
        let len = u32::try_from(self.waiters.len()).unwrap_or(u32::MAX);
        let group = len.min(self.levels.burst() / 4);
        let hurried = |(latest, _)| latest < later(at, 2 * GATHER);
        if group <= self.levels.most(&costs) || front.latest().is_some_and(hurried) {
            return at;
        }
        let gathered = self.levels.turn(now, &none, &[group; LimitId::MOST]);
        at.max(gathered.min(later(at, GATHER)))
    }

    /// Puts a waiter back into the queue, at the place that its age gives it. Rejects it if the
    /// bucket is closed and the call has a retry outside, or if it costs more than the burst. The
    /// burst may have been lowered while the waiter was not in the queue. At the front, such a
    /// waiter would wait for ever, together with all waiters behind it.
    fn rejoin(&mut self, ticket: &Ticket, now: Instant) {
        let closed = self.levels.closed_until;
        let release = closed.map(|opens| self.settings.spread.after(opens));
        let waiter = self.waiters.get_mut(ticket);
        if let Some(at) = release
            && waiter.retried
        {
            waiter.reject(RejectReason::Paused, at);
            return;
        }
        if self.levels.above_burst(&waiter.costs()).is_some() {
            waiter.reject(RejectReason::CostAboveBurst, now);
            return;
        }
        self.waiters.requeue(ticket, release);
        if self.waiters.bounded {
            // All waiters behind it wait longer now.
            self.looks.by(Some(now));
        }
    }

    /// Rejects all waiters whose wait has become too long.
    fn look(&mut self, now: Instant, wakes: &mut Wakes) {
        self.looks.taken(None, now);
        self.waiters.reject(wakes, |waiter, ahead| {
            let costs = waiter.costs();
            if self.levels.above_burst(&costs).is_some() {
                return Some((RejectReason::CostAboveBurst, now));
            }
            let (latest, reason) = waiter.latest()?;
            let at = self
                .levels
                .turn(now, ahead, &costs)
                .max(waiter.release.unwrap_or(now));
            (at > latest).then_some((reason, at))
        });
    }
}

impl TokenQueue for BucketState {
    #[inline]
    fn arrive(&mut self, _: &Ask, now: Instant) {
        self.forget_shadow(now);
        self.levels.fill(now);
    }

    #[inline]
    fn try_take(&mut self, ask: &Ask, now: Instant) -> bool {
        let costs = ask.costs();
        let free = self.levels.closed_until.is_none()
            && self.waiters.is_empty()
            && self.levels.can_plan(&costs, now);
        if free {
            self.levels.plan(&costs, now);
            self.levels.send(&costs, ask.charge());
        }
        free
    }

    #[cold]
    fn join(&mut self, ask: &Ask, now: Instant) -> Result<Ticket, Rejected> {
        let costs = ask.costs();
        if self.levels.above_burst(&costs).is_some() {
            return Err(self.above_burst(&costs));
        }
        let closed = self.levels.closed_until;
        let release = closed.map(|opens| self.settings.spread.after(opens));
        if let Some(release) = release
            && ask.is_retried()
        {
            let rejected = Rejected::new(RejectReason::Paused);
            return Err(rejected.with_wait(now, release.duration_since(now)));
        }
        let waiting = self.waiters.len();
        if waiting >= ask.max_waiting() || ask.latest().is_some() {
            let at = self
                .levels
                .turn(now, self.waiters.costs(), &costs)
                .max(release.unwrap_or(now))
                .max(self.waiters.released().unwrap_or(now));
            let none = match release {
                Some(_) => RejectReason::Paused,
                None => RejectReason::AtCapacity,
            };
            if let Some(reason) = ask.rejection(waiting, at, none) {
                return Err(Rejected::new(reason).with_wait(now, at.duration_since(now)));
            }
        }
        Ok(self.waiters.push(Waiter::new(ask, release)))
    }

    fn queued(&self) -> usize {
        self.waiters.len()
    }

    fn quotas(&mut self) -> (&mut Quotas, &Spread) {
        (&mut self.quotas, &self.settings.spread)
    }

    fn poll_cheap(
        &mut self,
        ticket: &Ticket,
        waker: &mut Option<Waker>,
        served: &dyn Fn() -> bool,
    ) -> Option<PollOutcome> {
        let (behind, quiet) = (self.waiters.is_behind(ticket), self.quotas.is_quiet());
        let waiter = self.waiters.get_mut(ticket);
        match waiter.state {
            State::Granted if waiter.latest().is_none() && quiet => Some(self.granted(ticket)),
            State::Waiting if behind && served() => {
                waiter.waker.keep(waker);
                Some(PollOutcome::Waiting)
            }
            _ => None,
        }
    }

    fn poll_waiter(
        &mut self,
        ticket: &Ticket,
        waker: &mut Option<Waker>,
        now: Instant,
        wakes: &mut Wakes,
    ) -> PollOutcome {
        let state = self.waiters.get_mut(ticket).state;
        if matches!(state, State::Away | State::Recalled) {
            self.waiters.get_mut(ticket).returned |= state == State::Recalled;
            self.rejoin(ticket, now);
        }
        // This waiter came back. If its turn has come, it is woken once more, behind older waiters
        // whose turn has come, too.
        let waiter = self.waiters.get_mut(ticket);
        let again = waiter.state == State::Waiting && waiter.returned;
        if again {
            waiter.waker.keep(waker);
        }
        self.serve(now, wakes);
        let waiter = self.waiters.get_mut(ticket);
        if let Some((reason, at)) = waiter.rejection() {
            let costs = waiter.costs();
            return PollOutcome::Rejected(match reason {
                RejectReason::CostAboveBurst => self.above_burst(&costs),
                _ => Rejected::new(reason).with_wait(now, at.saturating_duration_since(now)),
            });
        }
        if again {
            return PollOutcome::Waiting;
        }
        if waiter.state == State::Waiting {
            waiter.waker.keep(waker);
            return PollOutcome::Waiting;
        }
        let late = waiter.latest().filter(|&(latest, _)| latest < now);
        let Some((_, reason)) = late else {
            return self.granted(ticket);
        };
        // The waiter is polled too late.
        waiter.reject(reason, now);
        let costs = waiter.costs();
        self.levels.unplan(&costs);
        PollOutcome::Rejected(Rejected::new(reason).with_wait(now, Duration::ZERO))
    }

    fn ask_of(&mut self, ticket: &Ticket) -> Ask {
        let waiter = self.waiters.get_mut(ticket);
        let mut ask = Ask::new(NonZeroU32::MIN).with_retried(waiter.retried);
        for (limit, &cost) in waiter.costs().iter().enumerate() {
            ask = ask.with_cost(limit, cost);
        }
        if let Some(charge) = waiter.charge() {
            ask = ask.with_charge(charge);
        }
        match waiter.latest() {
            Some((latest, reason)) => ask.with_latest(latest, reason),
            None => ask,
        }
    }

    fn reject(&mut self, ticket: &Ticket, rejected: &Rejected, now: Instant) {
        let at = rejected.not_before().unwrap_or(now);
        let waiter = self.waiters.get_mut(ticket);
        waiter.reject(rejected.reason(), at);
        let costs = waiter.costs();
        self.levels.unplan(&costs);
    }

    fn spend(&mut self, ticket: &Ticket, now: Instant) -> bool {
        self.levels.fill(now);
        let waiter = self.waiters.get_mut(ticket);
        let (costs, charge) = (waiter.costs(), waiter.charge());
        let granted = waiter.state == State::Granted;
        // The call is not sent before an older one that came too late for its own grant.
        let sent = granted && self.levels.can_send(&costs) && !self.waiters.is_behind(ticket);
        if sent {
            self.levels.send(&costs, charge);
        } else if granted {
            self.levels.unplan(&costs);
            if self.levels.recall() {
                // Younger waiters were granted their turns, too. They will be polled before this
                // one is woken again.
                self.waiters.recall();
                self.waiters.get_mut(ticket).returned = true;
            }
            self.rejoin(ticket, now);
        }
        sent
    }

    fn pass(&mut self, ticket: &Ticket, _: Instant) {
        let waiter = self.waiters.get_mut(ticket);
        match std::mem::replace(&mut waiter.state, State::Away) {
            State::Granted => {
                let costs = waiter.costs();
                self.levels.unplan(&costs);
            }
            State::Recalled => {}
            other => waiter.state = other,
        }
    }

    fn leave(&mut self, ticket: Ticket, sent: bool, _: Instant) -> (u32, KeptWaker) {
        let waiter = self.waiters.remove(ticket);
        if waiter.state == State::Granted && !sent {
            self.levels.unplan(&waiter.costs());
        }
        (waiter.costs()[0], waiter.waker)
    }
}

impl VirtualQueue for BucketState {
    fn turn_of(&mut self, ticket: &Ticket, now: Instant) -> Instant {
        let costs = self.waiters.get_mut(ticket).costs();
        let mut ahead = *self.waiters.costs();
        for (ahead, &cost) in ahead.iter_mut().zip(&costs) {
            *ahead -= u64::from(cost);
        }
        let turn = self.levels.turn(now, &ahead, &costs);
        turn.max(self.waiters.released().unwrap_or(now))
    }

    fn settle_virtual(&mut self, ticket: &Ticket, now: Instant) -> Virtual {
        let state = self.waiters.get_mut(ticket).state;
        match state {
            State::Rejected => Virtual::Rejected,
            State::Granted if self.spend(ticket, now) => Virtual::Sent,
            State::Away | State::Recalled => {
                self.rejoin(ticket, now);
                Virtual::Waits
            }
            _ => Virtual::Waits,
        }
    }
}

impl Serve for BucketState {
    fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> Next {
        self.levels.fill(now);
        self.quotas.settle(now);
        if self.looks.begin(self.waiters.len(), now) {
            self.look(now, wakes);
        }
        if self.levels.closed_until.is_none() {
            self.waiters.order_releases();
        }
        while let Some(front) = self.waiters.front() {
            let (costs, release) = (front.costs(), front.release);
            // The front is looked at again when the bucket opens. The releases are then brought
            // into order.
            let held = self.levels.closed_until.or(release).filter(|&at| at > now);
            if held.is_some() || !self.levels.can_plan(&costs, now) {
                let at = held.unwrap_or_else(|| self.next_turn(now, front));
                return Next::At(self.looks.due().map_or(at, |look| at.min(look)));
            }
            self.levels.plan(&costs, now);
            self.waiters.grant_front(wakes);
        }
        self.looks.none();
        Next::Nothing
    }

    fn rouse(&mut self, wakes: &mut Wakes) {
        self.waiters.rouse(wakes);
    }
}
