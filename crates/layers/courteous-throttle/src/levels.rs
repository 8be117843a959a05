use std::time::Duration;

use courteous_limit::{ChargeId, LimitId, Pace, Settled, later};
use tokio::time::Instant;

use crate::{
    Rate,
    meter::{Costs, Meter},
};

/// Stands for an instant that is too far away to be told.
const FAR: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// What all waiters cost together: tokens of each limit, by its number.
pub(crate) type Totals = [u64; LimitId::MOST];

/// All that decides when tokens are there: the levels of several rates, a closed gate, and a
/// server's quota.
///
/// Each rate belongs to a limit. A call pays its cost in a limit to every rate of that limit.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    /// A meter of the first limit.
    first: Meter,
    more: Vec<Meter>,
    /// The payments of calls that may be settled, in the order in which they were made, as in each
    /// meter.
    unsettled: Vec<Payment>,
    /// When the meters were last filled.
    filled: Instant,
    /// When the gate opens. If set, it was in the future when the meters were last filled.
    pub(crate) closed_until: Option<Instant>,
    pace: Option<Pace>,
}

/// How many payments of a call are remembered separately. Later charges are added to the last
/// payment. What comes back of such a charge also has to pass the room of that payment, so it may
/// be less.
const MOST_PAYMENTS: usize = 8;

/// What a call paid when it was sent, or what it was charged on top later, at one time.
#[derive(Clone, Debug)]
struct Payment {
    charge: ChargeId,
    /// What the call costs as far as is known. Only valid in its first payment.
    costs: Costs,
}

impl Levels {
    /// The level of one rate, which lacked `lacking` fractions at `at`.
    pub(crate) fn new(rate: Rate, lacking: u128, at: Instant) -> Self {
        Self {
            first: Meter::lacking(rate, lacking),
            more: Vec::new(),
            unsettled: Vec::new(),
            filled: at,
            closed_until: None,
            pace: None,
        }
    }

    /// Full levels of the same rates.
    pub(crate) fn fresh(&self, now: Instant) -> Self {
        let mut levels = Self::new(self.first.rate(), 0, now);
        levels.more = self
            .more
            .iter()
            .map(|meter| Meter::full(meter.rate(), meter.limit(), 0))
            .collect();
        levels
    }

    pub(crate) const fn first(&self) -> Rate {
        self.first.rate()
    }

    /// All rates, each with the number of its limit.
    pub(crate) fn all_rates(&self) -> impl Iterator<Item = (u8, Rate)> {
        self.meters().map(|meter| (meter.limit(), meter.rate()))
    }

    /// The rates of one limit.
    pub(crate) fn rates(&self, limit: u8) -> impl Iterator<Item = Rate> {
        self.of(limit).map(Meter::rate)
    }

    /// Sets other rates of one limit.
    pub(crate) fn set_rates(&mut self, limit: u8, rates: &[Rate]) {
        let old: Vec<_> = self.of(limit).cloned().collect();
        let Some(first) = old.first().filter(|_| !rates.is_empty()) else {
            return;
        };
        // A rate that was not there before must not allow a new burst.
        let at = |(i, rate): (usize, &Rate)| old.get(i).unwrap_or(first).at(*rate);
        let mut new = rates.iter().enumerate().map(at);
        if limit == 0
            && let Some(first) = new.next()
        {
            self.first = first;
        }
        self.more.retain(|meter| meter.limit() != limit);
        self.more.extend(new);
    }

    /// Adds a rate to a limit. No token of it has been spent yet.
    pub(crate) fn add(&mut self, limit: u8, rate: Rate) {
        let full = Meter::full(rate, limit, self.unsettled.len());
        self.more.push(full);
    }

    /// Takes all tokens out.
    pub(crate) fn empty(&mut self) {
        self.each(Meter::empty);
    }

    /// The only rate, how much it lacks, and at which instant. `None` if there is any other state.
    pub(crate) fn at_rest(&self) -> Option<(Rate, u128, Instant)> {
        let simple = self.more.is_empty() && self.closed_until.is_none() && self.pace.is_none();
        let lacking = self.first.lacks().filter(|_| simple)?;
        Some((self.first.rate(), lacking, self.filled))
    }

    /// Whole tokens of a limit that are not set aside.
    pub(crate) fn available(&self, limit: u8) -> u32 {
        if self.closed_until.is_some() {
            return 0;
        }
        self.of(limit).map(Meter::available).min().unwrap_or(0)
    }

    /// Whole tokens that are not set aside, of the rate that has the fewest.
    pub(crate) fn fewest(&self) -> u32 {
        if self.closed_until.is_some() {
            return 0;
        }
        self.meters().map(Meter::available).min().unwrap_or(0)
    }

    /// The same for each rate, limit by limit. `None` if there is only one rate, or the gate is
    /// closed.
    pub(crate) fn available_by_rate(&self) -> Option<Vec<u32>> {
        if self.more.is_empty() || self.closed_until.is_some() {
            return None;
        }
        let limits = 0..u8::try_from(LimitId::MOST).unwrap_or(u8::MAX);
        let meters = limits.flat_map(|limit| self.of(limit));
        Some(meters.map(Meter::available).collect())
    }

    /// Closes the gate, and takes all plans back: a waiter that was granted its turn cannot use it
    /// now. When the gate opens, there is at most one token.
    pub(crate) fn close_until(&mut self, opens: Instant) {
        self.closed_until = Some(opens);
        self.each(Meter::unplan_all);
    }

    /// Takes all plans back, if that is possible. It is not while a server's quota is spread, as
    /// the quota would have to know the plans.
    pub(crate) fn recall(&mut self) -> bool {
        let can = self.pace.is_none();
        if can {
            self.each(Meter::unplan_all);
        }
        can
    }

    /// Spreads a server's quota over the time until its reset.
    pub(crate) fn pace(&mut self, remaining: u64, reset: Duration, now: Instant) {
        let known = self.pace.take();
        self.pace = Pace::new(remaining, reset, now).and_then(|pace| pace.after(known, now));
    }

    /// Whether new levels would do the same.
    pub(crate) fn is_idle(&self) -> bool {
        self.closed_until.is_none() && self.pace.is_none() && self.all(Meter::is_full)
    }

    pub(crate) fn can_send(&self, costs: &Costs) -> bool {
        self.closed_until.is_none() && self.all(|meter| meter.can_send(costs))
    }

    fn of(&self, limit: u8) -> impl Iterator<Item = &Meter> {
        self.meters().filter(move |meter| meter.limit() == limit)
    }

    fn meters(&self) -> impl Iterator<Item = &Meter> {
        std::iter::once(&self.first).chain(&self.more)
    }

    // This is not an iterator over all meters: there is nearly always only one, and this is the
    // fast path.
    fn all(&self, holds: impl Fn(&Meter) -> bool) -> bool {
        holds(&self.first) && self.more.iter().all(holds)
    }

    fn each(&mut self, mut f: impl FnMut(&mut Meter)) {
        f(&mut self.first);
        self.more.iter_mut().for_each(f);
    }

    /// If a limit can never hold `costs`: the cost in that limit, and the limit's rate.
    pub(crate) fn above_burst(&self, costs: &Costs) -> Option<(u32, Rate)> {
        let above = |meter: &&Meter| meter.cost(costs) > meter.rate().burst().get();
        let above = self.meters().filter(above);
        let least = above.min_by_key(|meter| meter.rate().burst())?;
        Some((least.cost(costs), least.rate()))
    }

    /// What a call costs in the limit in which it costs the most tokens.
    pub(crate) fn most(&self, costs: &Costs) -> u32 {
        let costs = self.meters().map(|meter| meter.cost(costs));
        costs.max().unwrap_or_default()
    }

    pub(crate) fn burst(&self) -> u32 {
        self.meters()
            .map(|meter| meter.rate().burst().get())
            .min()
            .unwrap_or(0)
    }

    /// Lets the time pass until `now`.
    pub(crate) fn fill(&mut self, now: Instant) {
        if let Some(opens) = self.closed_until {
            self.fill_to(now.min(opens), 1);
            if now < opens {
                return;
            }
            self.closed_until = None;
        }
        self.fill_to(now, u32::MAX);
        if self.pace.is_some_and(|pace| pace.is_over(now)) {
            self.pace = None;
        }
    }

    fn fill_to(&mut self, now: Instant, cap: u32) {
        let nanos = now.saturating_duration_since(self.filled).as_nanos();
        // Not done at every call: most clocks read the same for a while.
        if nanos > 0 {
            self.filled = now;
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            self.each(|meter| meter.refill(nanos, cap));
        }
    }

    pub(crate) fn can_plan(&self, costs: &Costs, now: Instant) -> bool {
        self.all(|meter| meter.can_plan(costs)) && self.pace.is_none_or(|pace| pace.next() <= now)
    }

    pub(crate) fn plan(&mut self, costs: &Costs, now: Instant) {
        self.each(|meter| meter.plan(costs));
        if let Some(pace) = &mut self.pace {
            pace.spend(costs[0], now);
        }
    }

    pub(crate) fn unplan(&mut self, costs: &Costs) {
        self.each(|meter| meter.unplan(costs));
        if let Some(pace) = &mut self.pace {
            pace.unspend(costs[0]);
        }
    }

    /// Pays for a send. Remembers the payment under `charge`, if its true cost will be told.
    pub(crate) fn send(&mut self, costs: &Costs, charge: Option<ChargeId>) {
        self.each(|meter| meter.send(costs));
        if let Some(charge) = charge {
            self.each(|meter| meter.remember(meter.cost(costs)));
            let costs = *costs;
            self.unsettled.push(Payment { charge, costs });
        }
    }

    /// Counts a call as `actual` tokens of a limit. `None` if the call is not known, or there is no
    /// such limit.
    pub(crate) fn settle(
        &mut self,
        charge: ChargeId,
        limit: usize,
        actual: u32,
    ) -> Option<Settled> {
        let sent = self
            .unsettled
            .iter()
            .position(|paid| paid.charge == charge)?;
        let number = u8::try_from(limit).ok()?;
        self.of(number).next()?;
        let payment = self.unsettled.get_mut(sent)?;
        let costs = payment.costs;
        let before = std::mem::replace(payment.costs.get_mut(limit)?, actual);
        let Some(more) = actual.checked_sub(before) else {
            return Some(Settled::less(self.give_back(charge, number, actual)));
        };
        // Each rate is charged separately. The strictest one decides what is returned.
        let mut charged = more;
        if more > 0 {
            let (last, is_new) = self.last_payment(charge)?;
            self.each(|meter| {
                let of_limit = meter.limit() == number;
                let tokens = if of_limit { meter.charge(more) } else { 0 };
                match is_new {
                    true => meter.remember(tokens),
                    false => meter.add(last, tokens),
                }
                if of_limit {
                    charged = charged.min(tokens);
                }
            });
            if is_new {
                self.unsettled.push(Payment { charge, costs });
            }
        }
        Some(Settled::more(charged, more - charged))
    }

    /// What a call counts as in a limit. `None` if the call is not known, or there is no such
    /// limit.
    pub(crate) fn counted(&self, charge: ChargeId, limit: usize) -> Option<u32> {
        let paid = self.unsettled.iter().find(|paid| paid.charge == charge)?;
        paid.costs.get(limit).copied()
    }

    /// The last payment of a call, and whether its next payment is remembered separately.
    fn last_payment(&self, charge: ChargeId) -> Option<(usize, bool)> {
        let payments = self.unsettled.iter().enumerate();
        let mut own = payments.filter(|(_, paid)| paid.charge == charge);
        let (first, _) = own.next()?;
        let (count, last) = own.fold((1, first), |(count, _), (at, _)| (count + 1, at));
        Some((last, count < MOST_PAYMENTS))
    }

    /// Takes back what a call paid above `actual`, beginning with its last charge.
    fn give_back(&mut self, charge: ChargeId, limit: u8, actual: u32) -> u32 {
        let mut most = 0;
        let unsettled = std::mem::take(&mut self.unsettled);
        let own = || {
            let payments = unsettled.iter().enumerate().rev();
            payments.filter(|(_, paid)| paid.charge == charge)
        };
        self.each(|meter| {
            if meter.limit() != limit {
                return;
            }
            let paid = own().map(|(at, _)| meter.charged(at));
            let paid = paid.fold(0, u32::saturating_add);
            let mut less = paid.saturating_sub(actual);
            most = most.max(less);
            for (at, _) in own() {
                let back = less.min(meter.charged(at));
                meter.give_back(at, back);
                less -= back;
            }
        });
        self.unsettled = unsettled;
        most
    }

    /// Forgets a call. The last number that was counted for it stands.
    pub(crate) fn forget(&mut self, charge: ChargeId) {
        while let Some(at) = self
            .unsettled
            .iter()
            .rposition(|paid| paid.charge == charge)
        {
            self.unsettled.remove(at);
            self.each(|meter| meter.forget(at));
        }
    }

    /// When the tokens are there for a call that costs `costs`, behind others that cost `ahead`.
    pub(crate) fn turn(&self, now: Instant, ahead: &Totals, costs: &Costs) -> Instant {
        let wait = self.meters().map(|meter| {
            let limit = usize::from(meter.limit()) % LimitId::MOST;
            let needed = ahead[limit] + u64::from(costs[limit]);
            let Some(opens) = self.closed_until else {
                return meter.time_to(needed).unwrap_or(FAR);
            };
            let mut meter = meter.bare();
            let closed = opens.duration_since(now);
            meter.refill(u64::try_from(closed.as_nanos()).unwrap_or(u64::MAX), 1);
            closed.saturating_add(meter.time_to(needed).unwrap_or(FAR))
        });
        let at = later(now, wait.max().unwrap_or_default());
        self.pace.map_or(at, |pace| at.max(pace.turn(ahead[0])))
    }
}
