use std::time::Duration;

use crate::Rate;

/// The level of one rate's bucket, in fractions of a token: each nanosecond brings back `rate.tokens` of them, and
/// `rate.per` make one token. So nothing is ever rounded.
///
/// There are two levels. The *true* one pays for sends, and so keeps the bound on them. The *planned* one, never above
/// it, pays for grants: a waiter that was granted its turn and does not use it holds up nobody, as both refill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    rate: Rate,
    level: u128,
    planned: u128,
}

impl Meter {
    pub(crate) const fn full(rate: Rate) -> Self {
        Self::lacking(rate, 0)
    }

    /// A meter that lacks so many fractions, none of which are set aside.
    pub(crate) const fn lacking(rate: Rate, lacking: u128) -> Self {
        let mut meter = Self {
            rate,
            level: 0,
            planned: 0,
        };
        meter.level = meter.capacity().saturating_sub(lacking);
        meter.planned = meter.level;
        meter
    }

    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// `tokens` in fractions.
    const fn fractions(&self, tokens: u64) -> u128 {
        tokens as u128 * self.rate.per() as u128
    }

    const fn capacity(&self) -> u128 {
        self.fractions(self.rate.burst().get() as u64)
    }

    /// Lets `nanos` pass, up to a level of `cap` tokens.
    pub(crate) fn refill(&mut self, nanos: u64, cap: u32) {
        let gain = u128::from(nanos) * u128::from(self.rate.tokens());
        let full = self.fractions(u64::from(cap.min(self.rate.burst().get())));
        self.level = (self.level + gain).min(full);
        self.planned = (self.planned + gain).min(full);
    }

    pub(crate) fn can_send(&self, cost: u32) -> bool {
        self.level >= self.fractions(u64::from(cost))
    }

    /// Pays for a send; what is planned is then never more than what is there.
    pub(crate) fn send(&mut self, cost: u32) {
        self.level = self.level.saturating_sub(self.fractions(u64::from(cost)));
        self.planned = self.planned.min(self.level);
    }

    pub(crate) fn can_plan(&self, cost: u32) -> bool {
        self.planned >= self.fractions(u64::from(cost))
    }

    /// Sets tokens aside for a send.
    pub(crate) fn plan(&mut self, cost: u32) {
        self.planned = self.planned.saturating_sub(self.fractions(u64::from(cost)));
    }

    /// Takes a plan back.
    pub(crate) fn unplan(&mut self, cost: u32) {
        self.planned = (self.planned + self.fractions(u64::from(cost))).min(self.level);
    }

    /// Takes all plans back.
    pub(crate) const fn unplan_all(&mut self) {
        self.planned = self.level;
    }

    /// Takes all tokens out.
    pub(crate) const fn empty(&mut self) {
        self.level = 0;
        self.planned = 0;
    }

    /// What lacks until it is full, if nothing is set aside.
    pub(crate) fn lacks(&self) -> Option<u128> {
        (self.planned == self.level).then(|| self.capacity() - self.level)
    }

    /// Whether it could not be fuller.
    pub(crate) fn is_full(&self) -> bool {
        self.planned >= self.capacity()
    }

    /// Whole tokens that nobody has set aside.
    pub(crate) fn available(&self) -> u32 {
        u32::try_from(self.planned / u128::from(self.rate.per())).unwrap_or(u32::MAX)
    }

    /// How long until `cost` tokens are there that nobody has set aside, in a bucket without a bottom; `None` if that
    /// cannot be counted.
    pub(crate) fn time_to(&self, cost: u64) -> Option<Duration> {
        let missing = self.fractions(cost).saturating_sub(self.planned);
        let nanos = missing.div_ceil(u128::from(self.rate.tokens()));
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }

    /// As this meter, at another rate: it holds as many tokens as before, or as many as it can.
    pub(crate) fn at(&self, rate: Rate) -> Self {
        let (old, new) = (u128::from(self.rate.per()), u128::from(rate.per()));
        let convert = |level: u128| level / old * new + level % old * new / old;
        let mut meter = Self {
            rate,
            level: convert(self.level),
            planned: convert(self.planned),
        };
        meter.refill(0, u32::MAX);
        meter
    }
}
