use std::{sync::Arc, time::Duration};

use courteous_limit::{LimitId, Shortcut, later};
use tokio::time::Instant;

use crate::{
    Rate,
    bucket_state::{BucketSettings, BucketState},
    horizon::{END, Horizon},
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
    scale: Arc<Scale>,
}

/// What the word means, for one rate. Many buckets share it.
#[derive(Debug)]
struct Scale {
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
    settings: Arc<BucketSettings>,
    /// `None` while the bucket is at rest, as there may be a million buckets. If the server has
    /// named quotas, the state stays for what it knows of them. Everything else in it is then out
    /// of date.
    state: Option<Box<BucketState>>,
}

impl FastPath {
    pub(crate) fn new(rate: Rate, epoch: Instant) -> Self {
        Self::of(LimitId::new(), rate, epoch)
    }

    fn of(id: LimitId, rate: Rate, epoch: Instant) -> Self {
        let scale = Arc::new(Scale::new(id, rate, epoch));
        let horizon = Horizon::locked();
        Self { horizon, scale }
    }

    /// The fast path of another bucket. It shares the scale if that fits.
    pub(crate) fn fresh(&self, rate: Rate, now: Instant) -> Self {
        let scale = &self.scale;
        // A paused clock may be behind the clock by which the scale was made.
        if rate != scale.rate || now < scale.epoch || scale.instant(now).is_none() {
            return Self::of(scale.id, rate, now);
        }
        let (scale, horizon) = (Arc::clone(scale), Horizon::locked());
        Self { horizon, scale }
    }

    /// The bucket's first limit.
    pub(crate) fn id(&self) -> LimitId {
        self.scale.id
    }

    /// The state of a new bucket, with the settings of the bucket that has `kept` under its lock.
    pub(crate) fn fresh_state(&self, kept: &Kept, now: Instant) -> BucketState {
        match &kept.state {
            Some(state) => state.fresh(now),
            None => BucketState::at(self.scale.rate, 0, now, Arc::clone(&kept.settings)),
        }
    }

    /// What a new bucket keeps under the lock.
    pub(crate) fn keep(&self, state: BucketState) -> Kept {
        let settings = Arc::clone(&state.settings);
        let at_rest = self.rest(&state);
        let state = (!at_rest).then(|| Box::new(state));
        Kept { settings, state }
    }

    /// Takes tokens, if they are there and the lock need not be asked.
    #[inline]
    pub(crate) fn try_take(&self, cost: u32, now: Instant) -> bool {
        let scale = &*self.scale;
        let Some(at) = scale.instant(now) else {
            return false;
        };
        let affordable = cost <= scale.rate.burst().get();
        affordable
            && self
                .horizon
                .try_take(at, u64::from(cost) * scale.token, scale.full)
    }

    /// How many tokens there are, if the lock need not be asked.
    pub(crate) fn available(&self, now: Instant) -> Option<u32> {
        let lacking = self
            .horizon
            .peek()?
            .saturating_sub(self.scale.instant(now)?);
        u32::try_from(self.scale.full.saturating_sub(lacking) / self.scale.token).ok()
    }

    /// Whether the bucket is full. `None` if the lock must be asked. If it need not be, the bucket
    /// has the rate that it was made with.
    pub(crate) fn is_full(&self, now: Instant) -> Option<bool> {
        Some(self.horizon.peek()? <= self.scale.instant(now)?)
    }

    /// Whether a rate was set: any but [`Rate::UNLIMITED`].
    pub(crate) fn has_rate(&self, kept: &Kept) -> bool {
        match &kept.state {
            Some(state) => state.all_rates().any(|(_, rate)| rate != Rate::UNLIMITED),
            None => self.scale.rate != Rate::UNLIMITED,
        }
    }

    /// Opens the tokens to all callers, if the bucket is at rest.
    fn rest(&self, state: &BucketState) -> bool {
        let at_rest = state
            .at_rest()
            .and_then(|(rate, lacking, at)| self.scale.horizon(rate, lacking, at));
        if let Some(horizon) = at_rest {
            self.horizon.unlock(horizon);
        }
        at_rest.is_some()
    }
}

impl Shortcut<Kept> for FastPath {
    type Limit = BucketState;

    fn close<'a>(&self, kept: &'a mut Kept) -> &'a mut BucketState {
        let scale = &*self.scale;
        let horizon = self.horizon.lock();
        // While the word is with the lock, there is a state.
        let known = match horizon {
            Some(_) => kept.state.take(),
            None => None,
        };
        kept.state.get_or_insert_with(|| {
            let horizon = horizon.unwrap_or_default();
            // The state starts at the earliest instant at which so much can lack. It lets the time
            // since then pass before it looks at any level. So no clock is needed here, and the
            // clocks of several threads need not agree.
            let nanos = horizon.saturating_sub(scale.full).div_ceil(scale.gain);
            let lacking = u128::from(horizon - nanos * scale.gain) * u128::from(scale.unit);
            let at = later(scale.epoch, Duration::from_nanos(nanos));
            let settings = Arc::clone(&kept.settings);
            let mut state = BucketState::at(scale.rate, lacking, at, settings);
            match known {
                Some(mut known) => {
                    state.quotas = std::mem::take(&mut known.quotas);
                    *known = state;
                    known
                }
                None => Box::new(state),
            }
        })
    }

    fn open(&self, kept: &mut Kept) {
        if kept.state.as_deref().is_some_and(|state| self.rest(state))
            && let Some(state) = kept.state.take_if(|state| state.quotas.is_unknown())
        {
            kept.settings = state.settings;
        }
    }
}

impl Scale {
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
