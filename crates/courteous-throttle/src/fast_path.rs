use std::time::Duration;

use courteous_queue::Shortcut;
use tokio::time::Instant;

use crate::{
    Rate,
    core::Core,
    horizon::{END, Horizon},
    levels::later,
};

const SECOND: u64 = 1_000_000_000;

/// A bucket's tokens in one word, which are taken without the lock while there is no more to the bucket than its tokens:
/// one rate, the one that it was made with, nobody who waits, and nothing that a server said.
///
/// The word's unit is the greatest one in which a nanosecond's gain and a token are whole numbers: so it is as exact as the
/// [meters](crate::meter::Meter), and each of them can be had from the other.
#[derive(Debug)]
pub(crate) struct FastPath {
    horizon: Horizon,
    /// What the word's instants are counted from.
    epoch: Instant,
    /// The first second after that whose instants do not fit into the word: 73 years, for a rate whose interval is a whole number
    /// of nanoseconds. Zero if the burst does not fit.
    end: u64,
    /// What comes back in a nanosecond.
    gain: u64,
    /// What a token is.
    token: u64,
    burst: u32,
    /// How many of a meter's fractions the word's unit is.
    unit: u64,
}

impl FastPath {
    pub(crate) fn new(rate: Rate, epoch: Instant) -> Self {
        let unit = greatest_common_divisor(rate.tokens(), rate.per());
        let (gain, token) = (rate.tokens() / unit, rate.per() / unit);
        let burst = rate.burst().get();
        let fits = token
            .checked_mul(u64::from(burst))
            .is_some_and(|full| full <= END);
        Self {
            horizon: Horizon::locked(),
            epoch,
            end: if fits { END / SECOND / gain } else { 0 },
            gain,
            token,
            burst,
            unit,
        }
    }

    /// Takes tokens, if they are there and the lock need not be asked.
    #[inline]
    pub(crate) fn try_take(&self, cost: u32, now: Instant) -> bool {
        let Some(at) = self.instant(now) else {
            return false;
        };
        cost <= self.burst
            && self
                .horizon
                .try_take(at, u64::from(cost) * self.token, self.full())
    }

    /// `at` in the word's units, if that fits.
    #[inline]
    fn instant(&self, at: Instant) -> Option<u64> {
        let passed = at.saturating_duration_since(self.epoch);
        let nanos = |passed: Duration| passed.as_secs() * SECOND + u64::from(passed.subsec_nanos());
        (passed.as_secs() < self.end).then(|| nanos(passed) * self.gain)
    }

    #[inline]
    fn full(&self) -> u64 {
        u64::from(self.burst) * self.token
    }

    fn is_of(&self, rate: Rate) -> bool {
        self.burst == rate.burst().get()
            && self.token * self.unit == rate.per()
            && self.gain * self.unit == rate.tokens()
    }
}

impl Shortcut<Core> for FastPath {
    fn close(&self, core: &mut Core) {
        let Some(horizon) = self.horizon.lock() else {
            return;
        };
        // As of the earliest instant at which so much can lack. The core lets the time pass since then, as it does before it
        // looks at any level, so no clock is needed here, nor need all clocks agree.
        let nanos = horizon.saturating_sub(self.full()).div_ceil(self.gain);
        let lacking = horizon - nanos * self.gain;
        let at = later(self.epoch, Duration::from_nanos(nanos));
        core.resume(u128::from(lacking) * u128::from(self.unit), at);
    }

    fn open(&self, core: &Core) {
        let Some((rate, lacking, at)) = core.at_rest() else {
            return;
        };
        let unit = u128::from(self.unit);
        // Back at the rate of before, a part of a unit may be left over from another rate.
        if self.is_of(rate)
            && lacking.is_multiple_of(unit)
            && let Ok(lacking) = u64::try_from(lacking / unit)
            && let Some(at) = self.instant(at)
        {
            self.horizon.unlock(at + lacking);
        }
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
