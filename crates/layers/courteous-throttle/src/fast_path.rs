use std::{sync::Arc, time::Duration};

use courteous_limit::LimitId;
use courteous_limit::Shortcut;
use tokio::time::Instant;

use crate::{
    Rate,
    bucket_state::{Core, Spread},
    horizon::{END, Horizon},
    levels::later,
};

const SECOND: u64 = 1_000_000_000;

/// A bucket's tokens in one word. While the bucket is at rest, they are taken without the lock. A
/// bucket is at rest if it has no other state: it has only the one rate that it was made with, no
/// waiter, and nothing that a server said.
///
/// The word's unit is the greatest one in which a nanosecond's gain and a token are whole numbers.
/// So the word is as exact as the [meters](crate::meter::Meter), and each can be computed from the
/// other.
#[derive(Debug)]
pub(crate) struct FastPath {
    horizon: Horizon,
    terms: Arc<Terms>,
}

/// What the word means, for one rate. Many buckets share it.
#[derive(Debug)]
struct Terms {
    /// The first limit of a bucket, and of all buckets that were made from it.
    id: LimitId,
    rate: Rate,
    /// The word's instants are counted from here.
    epoch: Instant,
    /// The first second after `epoch` whose instants do not fit into the word. That is after 73
    /// years, for a rate whose interval is a whole number of nanoseconds. Zero if the burst does
    /// not fit.
    end: u64,
    /// How many units come back in a nanosecond.
    gain: u64,
    /// How many units a token is, and how many a full bucket holds.
    token: u64,
    full: u64,
    /// How many of a meter's fractions make one unit of the word.
    unit: u64,
}

/// What is kept under the lock.
#[derive(Debug)]
pub(crate) struct Kept {
    spread: Arc<Spread>,
    /// `None` while the bucket is at rest, as there may be a million buckets. If the server has
    /// named quotas, the core stays for what it knows of them. Everything else in it is then out of
    /// date.
    core: Option<Box<Core>>,
}

impl FastPath {
    pub(crate) fn new(rate: Rate, epoch: Instant) -> Self {
        Self::of(LimitId::new(), rate, epoch)
    }

    fn of(id: LimitId, rate: Rate, epoch: Instant) -> Self {
        let terms = Arc::new(Terms::new(id, rate, epoch));
        let horizon = Horizon::locked();
        Self { horizon, terms }
    }

    /// The fast path of another bucket. It shares the terms if they fit.
    pub(crate) fn fresh(&self, rate: Rate, now: Instant) -> Self {
        let terms = &self.terms;
        // A paused clock may be behind the clock by which the terms were made.
        if rate != terms.rate || now < terms.epoch || terms.instant(now).is_none() {
            return Self::of(terms.id, rate, now);
        }
        let (terms, horizon) = (Arc::clone(terms), Horizon::locked());
        Self { horizon, terms }
    }

    /// The bucket's first limit.
    pub(crate) fn id(&self) -> LimitId {
        self.terms.id
    }

    /// The core of a new bucket, with the settings of the bucket that has `kept` under its lock.
    pub(crate) fn fresh_core(&self, kept: &Kept, now: Instant) -> Core {
        match &kept.core {
            Some(core) => core.fresh(now),
            None => Core::at(self.terms.rate, 0, now, Arc::clone(&kept.spread)),
        }
    }

    /// What a new bucket keeps under the lock.
    pub(crate) fn keep(&self, core: Core) -> Kept {
        let spread = Arc::clone(&core.spread);
        let at_rest = self.rest(&core);
        let core = (!at_rest).then(|| Box::new(core));
        Kept { spread, core }
    }

    /// Takes tokens, if they are there and the lock need not be asked.
    #[inline]
    pub(crate) fn try_take(&self, cost: u32, now: Instant) -> bool {
        let terms = &*self.terms;
        let Some(at) = terms.instant(now) else {
            return false;
        };
        let affordable = cost <= terms.rate.burst().get();
        affordable
            && self
                .horizon
                .try_take(at, u64::from(cost) * terms.token, terms.full)
    }

    /// How many tokens there are, if the lock need not be asked.
    pub(crate) fn available(&self, now: Instant) -> Option<u32> {
        let lacking = self
            .horizon
            .peek()?
            .saturating_sub(self.terms.instant(now)?);
        u32::try_from(self.terms.full.saturating_sub(lacking) / self.terms.token).ok()
    }

    /// Whether the bucket is full. `None` if the lock must be asked. If it need not be, the bucket
    /// has the rate that it was made with.
    pub(crate) fn is_full(&self, now: Instant) -> Option<bool> {
        Some(self.horizon.peek()? <= self.terms.instant(now)?)
    }

    /// Whether a rate was set: any but [`Rate::UNLIMITED`].
    pub(crate) fn has_rate(&self, kept: &Kept) -> bool {
        match &kept.core {
            Some(core) => core.all_rates().any(|(_, rate)| rate != Rate::UNLIMITED),
            None => self.terms.rate != Rate::UNLIMITED,
        }
    }

    /// Opens the tokens to all callers, if the bucket is at rest.
    fn rest(&self, core: &Core) -> bool {
        let at_rest = core
            .at_rest()
            .and_then(|(rate, lacking, at)| self.terms.horizon(rate, lacking, at));
        if let Some(horizon) = at_rest {
            self.horizon.unlock(horizon);
        }
        at_rest.is_some()
    }
}

impl Shortcut<Kept> for FastPath {
    type Limit = Core;

    fn close<'a>(&self, kept: &'a mut Kept) -> &'a mut Core {
        let terms = &*self.terms;
        let horizon = self.horizon.lock();
        // While the word is with the lock, there is a core.
        let known = match horizon {
            Some(_) => kept.core.take(),
            None => None,
        };
        kept.core.get_or_insert_with(|| {
            let horizon = horizon.unwrap_or_default();
            // The core starts at the earliest instant at which so much can lack. It lets the time
            // since then pass before it looks at any level. So no clock is needed here, and the
            // clocks of several threads need not agree.
            let nanos = horizon.saturating_sub(terms.full).div_ceil(terms.gain);
            let lacking = u128::from(horizon - nanos * terms.gain) * u128::from(terms.unit);
            let at = later(terms.epoch, Duration::from_nanos(nanos));
            let spread = Arc::clone(&kept.spread);
            let mut core = Core::at(terms.rate, lacking, at, spread);
            match known {
                Some(mut known) => {
                    core.quotas = known.quotas.take();
                    *known = core;
                    known
                }
                None => Box::new(core),
            }
        })
    }

    fn open(&self, kept: &mut Kept) {
        if kept.core.as_deref().is_some_and(|core| self.rest(core))
            && let Some(core) = kept.core.take_if(|core| core.quotas.is_none())
        {
            kept.spread = core.spread;
        }
    }
}

impl Terms {
    fn new(id: LimitId, rate: Rate, epoch: Instant) -> Self {
        let unit = greatest_common_divisor(rate.tokens(), rate.per());
        let (gain, token) = (rate.tokens() / unit, rate.per() / unit);
        let full = token
            .checked_mul(u64::from(rate.burst().get()))
            .filter(|&full| full <= END);
        Self {
            id,
            rate,
            epoch,
            end: full.map_or(0, |_| END / SECOND / gain),
            gain,
            token,
            full: full.unwrap_or_default(),
            unit,
        }
    }

    /// `at` in the word's units. `None` if that does not fit.
    #[inline]
    fn instant(&self, at: Instant) -> Option<u64> {
        let passed = at.saturating_duration_since(self.epoch);
        let nanos = |passed: Duration| passed.as_secs() * SECOND + u64::from(passed.subsec_nanos());
        (passed.as_secs() < self.end).then(|| nanos(passed) * self.gain)
    }

    /// The horizon of a bucket with this `rate` that lacked `lacking` of a meter's fractions at
    /// `at`. `None` if that does not fit.
    fn horizon(&self, rate: Rate, lacking: u128, at: Instant) -> Option<u64> {
        let unit = u128::from(self.unit);
        // If the bucket is back at its first rate, a part of a unit may be left over from another
        // rate.
        if rate != self.rate || !lacking.is_multiple_of(unit) {
            return None;
        }
        Some(self.instant(at)? + u64::try_from(lacking / unit).ok()?)
    }
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests;
