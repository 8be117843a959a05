use std::time::Duration;

use courteous_limit::LimitId;

use crate::Rate;

/// What a call costs: tokens of each limit, by its number.
pub(crate) type Costs = [u32; LimitId::MOST];

/// The level of one rate's bucket, in fractions of a token. Each nanosecond brings back
/// `rate.tokens` fractions, and `rate.per` fractions make one token. So nothing is ever rounded.
///
/// There are two levels. The *true* one pays for sends, and so keeps the bound on them. The
/// *planned* one pays for grants, and is never above the true one. Both refill. So a waiter that
/// was granted its turn and does not use it does not hold up others.
///
/// # Calls that may be settled
///
/// A call may turn out to cost less than it was charged. Then the level becomes what it would be if
/// the call had been charged the lower cost when it was sent. It does not always rise by the whole
/// difference: a bucket that was full since then has lost what the call did not need.
///
/// ```text
/// burst 10, 1/s    t = 0: A is sent, charged 10    t = 8    A cost 4: 6 come back, but 2 at most find room
///
/// charged 10       level 0 ----------------------> 8
/// as if charged 4  level 6 ---> 10 at t = 4 -----> 10       so the level rises from 8 to 10, not to 14
/// ```
///
/// So each payment that may be settled has its *room*: the least that the level lacked of its
/// maximum, from that payment to the next one. What comes back passes the rooms of the payment
/// itself and of all later ones. Each room lets through at most its own size, and shrinks by what
/// passes.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    rate: Rate,
    /// The number of the limit that the meter belongs to.
    limit: u8,
    /// Below zero after calls that cost more than they were charged, by one burst at most.
    level: i128,
    planned: i128,
    /// The payments in the order in which they were made, as in [`Levels`](crate::levels::Levels).
    unsettled: Vec<Unsettled>,
}

/// A payment of a call whose true cost may still be told.
#[derive(Clone, Copy, Debug)]
struct Unsettled {
    room: i128,
    charged: u32,
}

impl Meter {
    /// A full meter of a limit, with `unsettled` payments of zero.
    pub(crate) fn full(rate: Rate, limit: u8, unsettled: usize) -> Self {
        let mut meter = Self::lacking(rate, 0);
        meter.limit = limit;
        let none = Unsettled {
            room: 0,
            charged: 0,
        };
        meter.unsettled = vec![none; unsettled];
        meter
    }

    /// A meter of the first limit that lacks `lacking` fractions, none of which are set aside.
    pub(crate) fn lacking(rate: Rate, lacking: u128) -> Self {
        let mut meter = Self {
            rate,
            limit: 0,
            level: 0,
            planned: 0,
            unsettled: Vec::new(),
        };
        let lacking = i128::try_from(lacking).unwrap_or(i128::MAX);
        meter.level = meter.capacity().saturating_sub(lacking).max(0);
        meter.planned = meter.level;
        meter
    }

    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    pub(crate) const fn limit(&self) -> u8 {
        self.limit
    }

    /// What a call that costs `costs` pays here.
    pub(crate) fn cost(&self, costs: &Costs) -> u32 {
        costs[usize::from(self.limit) % LimitId::MOST]
    }

    /// How many fractions `tokens` are.
    const fn fractions(&self, tokens: u32) -> i128 {
        tokens as i128 * self.rate.per() as i128
    }

    const fn capacity(&self) -> i128 {
        self.fractions(self.rate.burst().get())
    }

    /// Lets `nanos` pass, up to a level of `cap` tokens.
    pub(crate) fn refill(&mut self, nanos: u64, cap: u32) {
        let gain = u128::from(nanos) * u128::from(self.rate.tokens());
        let gain = i128::try_from(gain).unwrap_or(i128::MAX);
        let full = self.fractions(cap.min(self.rate.burst().get()));
        self.level = self.level.saturating_add(gain).min(full);
        self.planned = self.planned.saturating_add(gain).min(full);
        if let Some(last) = self.unsettled.last_mut() {
            last.room = last.room.min(full - self.level);
        }
    }

    pub(crate) fn can_send(&self, costs: &Costs) -> bool {
        let cost = self.cost(costs);
        self.level >= self.fractions(cost) || cost == 0
    }

    /// Pays for a send. The planned level is then never above the true one.
    pub(crate) fn send(&mut self, costs: &Costs) {
        self.level -= self.fractions(self.cost(costs));
        self.planned = self.planned.min(self.level);
    }

    pub(crate) fn can_plan(&self, costs: &Costs) -> bool {
        let cost = self.cost(costs);
        self.planned >= self.fractions(cost) || cost == 0
    }

    /// Sets tokens aside for a send.
    pub(crate) fn plan(&mut self, costs: &Costs) {
        self.planned -= self.fractions(self.cost(costs));
    }

    /// Takes a plan back.
    pub(crate) fn unplan(&mut self, costs: &Costs) {
        self.planned = (self.planned + self.fractions(self.cost(costs))).min(self.level);
    }

    /// Takes all plans back.
    pub(crate) const fn unplan_all(&mut self) {
        self.planned = self.level;
    }

    /// Takes all tokens out.
    pub(crate) fn empty(&mut self) {
        self.level = self.level.min(0);
        self.planned = self.planned.min(0);
        if let Some(last) = self.unsettled.last_mut() {
            last.room = 0;
        }
    }

    /// Remembers what was just paid, as it may have to be given back.
    pub(crate) fn remember(&mut self, charged: u32) {
        self.unsettled.push(Unsettled {
            room: self.capacity() - self.level,
            charged,
        });
    }

    /// Forgets a payment, and leaves its room to the payment before it.
    pub(crate) fn forget(&mut self, payment: usize) {
        let forgotten = self.unsettled.remove(payment);
        let before = payment.checked_sub(1);
        if let Some(before) = before.and_then(|payment| self.unsettled.get_mut(payment)) {
            before.room = before.room.min(forgotten.room);
        }
    }

    /// Takes `tokens`, or as many as the meter can owe. Returns how many were taken.
    pub(crate) fn charge(&mut self, tokens: u32) -> u32 {
        let left = (self.level + self.capacity()) / i128::from(self.rate.per());
        let charged = tokens.min(u32::try_from(left.max(0)).unwrap_or(u32::MAX));
        self.level -= self.fractions(charged);
        self.planned -= self.fractions(charged);
        charged
    }

    /// Adds to a payment what was charged on top.
    pub(crate) fn add(&mut self, payment: usize, charged: u32) {
        if let Some(payment) = self.unsettled.get_mut(payment) {
            payment.charged = payment.charged.saturating_add(charged);
        }
    }

    /// How much was charged for a payment.
    pub(crate) fn charged(&self, payment: usize) -> u32 {
        self.unsettled
            .get(payment)
            .map_or(0, |payment| payment.charged)
    }

    /// Takes back `tokens` of a payment, which must not be more than was charged for it.
    pub(crate) fn give_back(&mut self, payment: usize, tokens: u32) {
        let mut back = self.fractions(tokens);
        for later in self.unsettled.iter_mut().skip(payment) {
            let room = later.room;
            later.room = (room - back).max(0);
            back = back.min(room);
        }
        if let Some(payment) = self.unsettled.get_mut(payment) {
            payment.charged = payment.charged.saturating_sub(tokens);
        }
        self.level += back;
        self.planned += back;
    }

    /// How much lacks until the meter is full. `None` if anything is set aside, owed, or to be
    /// settled.
    pub(crate) fn lacks(&self) -> Option<u128> {
        let simple = self.planned == self.level && self.level >= 0 && self.unsettled.is_empty();
        simple.then(|| (self.capacity() - self.level).unsigned_abs())
    }

    /// Whether the meter could not be fuller.
    pub(crate) fn is_full(&self) -> bool {
        self.planned >= self.capacity()
    }

    /// Whole tokens that are not set aside.
    pub(crate) fn available(&self) -> u32 {
        let tokens = self.planned.max(0) / i128::from(self.rate.per());
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    /// How long until `cost` tokens that are not set aside are there, as if the bucket could hold
    /// any number. `None` if that cannot be counted.
    pub(crate) fn time_to(&self, cost: u64) -> Option<Duration> {
        if cost == 0 {
            return Some(Duration::ZERO);
        }
        let needed = u128::from(cost) * u128::from(self.rate.per());
        let missing = match u128::try_from(self.planned) {
            Ok(planned) => needed.saturating_sub(planned),
            Err(_) => needed.saturating_add(self.planned.unsigned_abs()),
        };
        let nanos = missing.div_ceil(u128::from(self.rate.tokens()));
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }

    /// The meter without its unsettled payments.
    pub(crate) const fn bare(&self) -> Self {
        Self {
            rate: self.rate,
            limit: self.limit,
            level: self.level,
            planned: self.planned,
            unsettled: Vec::new(),
        }
    }

    /// This meter at another rate. It holds, or owes, as many tokens as before, or as many as it
    /// can.
    pub(crate) fn at(&self, rate: Rate) -> Self {
        let (old, new) = (i128::from(self.rate.per()), i128::from(rate.per()));
        let convert = |level: i128| {
            let part = level.rem_euclid(old).unsigned_abs() * new.unsigned_abs();
            let part = i128::try_from(part / old.unsigned_abs()).unwrap_or(i128::MAX);
            level.div_euclid(old) * new + part
        };
        let unsettled = self.unsettled.iter().map(|call| Unsettled {
            room: convert(call.room),
            ..*call
        });
        let mut meter = Self {
            rate,
            limit: self.limit,
            level: convert(self.level),
            planned: convert(self.planned),
            unsettled: unsettled.collect(),
        };
        let least = -meter.capacity();
        meter.planned += (least - meter.level).max(0);
        meter.level = meter.level.max(least);
        meter.refill(0, u32::MAX);
        meter
    }
}
