use std::time::Duration;

use crate::{InvalidBackoff, Jitter};

const DEFAULT_BASE: Duration = Duration::from_millis(100);
const DEFAULT_CAP: Duration = Duration::from_secs(20);
const DEFAULT_FACTOR: f64 = 2.0;

/// How long to wait before each retry: a delay that grows up to a cap, spread by [`Jitter`].
///
/// By default exponential: 100 ms, doubled for each further retry, capped at 20 s, with full
/// jitter. That is short enough for a blip, and keeps a client that goes on for minutes from
/// knocking more than some six times a minute.
///
/// It is a plain value without state. Every delay follows from the random number that
/// [`delay`](Self::delay) is told, so that calls which share a `Backoff` do not share their luck.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    growth: Growth,
    base: Duration,
    cap: Duration,
    jitter: Jitter,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Growth {
    Constant,
    Linear,
    Exponential { factor: f64 },
}

impl Backoff {
    /// `base` before every retry.
    ///
    /// A zero base means no waits at all, here and in the other constructors.
    #[must_use]
    pub const fn constant(base: Duration) -> Self {
        Self::new(Growth::Constant, base)
    }

    /// `base` before the first retry, and `base` more before each further one.
    #[must_use]
    pub const fn linear(base: Duration) -> Self {
        Self::new(Growth::Linear, base)
    }

    /// `base` before the first retry, and twice the last delay before each further one, jitter
    /// apart.
    #[must_use]
    pub const fn exponential(base: Duration) -> Self {
        Self::new(
            Growth::Exponential {
                factor: DEFAULT_FACTOR,
            },
            base,
        )
    }

    /// The cap is 20 s, or the base where that is longer: a base was chosen, the default
    /// is not.
    const fn new(growth: Growth, base: Duration) -> Self {
        let cap = if base.as_nanos() > DEFAULT_CAP.as_nanos() {
            base
        } else {
            DEFAULT_CAP
        };
        Self {
            growth,
            base,
            cap,
            jitter: Jitter::Full,
        }
    }

    /// Multiplies by `factor` instead of 2 from one retry to the next. 1 is constant growth.
    ///
    /// # Errors
    /// When `factor` is below 1, infinite or not a number, and when the growth is not exponential.
    pub const fn with_factor(mut self, factor: f64) -> Result<Self, InvalidBackoff> {
        if !matches!(self.growth, Growth::Exponential { .. }) {
            return Err(InvalidBackoff::NO_FACTOR);
        }
        if !(factor >= 1.0 && factor.is_finite()) {
            return Err(InvalidBackoff::FACTOR);
        }
        self.growth = Growth::Exponential { factor };
        Ok(self)
    }

    /// Begins with `base`. A cap that is shorter becomes as long.
    #[must_use]
    pub const fn with_base(mut self, base: Duration) -> Self {
        self.base = base;
        if self.cap.as_nanos() < base.as_nanos() {
            self.cap = base;
        }
        self
    }

    /// Bounds every delay, jitter included, by `cap` instead of 20 s. [`Duration::MAX`] is no
    /// bound.
    ///
    /// # Errors
    /// When `cap` is below the base.
    pub const fn with_cap(mut self, cap: Duration) -> Result<Self, InvalidBackoff> {
        if cap.as_nanos() < self.base.as_nanos() {
            return Err(InvalidBackoff::CAP_BELOW_BASE);
        }
        self.cap = cap;
        Ok(self)
    }

    /// Spreads the delays by `jitter` instead of [`Jitter::Full`].
    #[must_use]
    pub const fn with_jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The delay before the first retry, jitter apart.
    #[must_use]
    pub const fn base(&self) -> Duration {
        self.base
    }

    /// What each delay is multiplied by for the next one, jitter apart; `None` if the growth is not exponential.
    #[must_use]
    pub const fn factor(&self) -> Option<f64> {
        match self.growth {
            Growth::Exponential { factor } => Some(factor),
            Growth::Constant | Growth::Linear => None,
        }
    }

    /// The longest possible delay.
    #[must_use]
    pub const fn cap(&self) -> Duration {
        self.cap
    }

    /// How chance spreads the delays.
    #[must_use]
    pub const fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// The delay before a retry.
    ///
    /// `random` is 64 random bits, drawn for this delay alone. `retry` counts from 1, the retry that is the second attempt; 0 is read as 1. `previous` is
    /// the delay that this returned last for the same call, or zero before the first; only
    /// [`Jitter::Decorrelated`] looks at it.
    ///
    /// The delay is never above the cap. It neither overflows nor panics, whatever the numbers.
    #[must_use]
    pub fn delay(&self, retry: u32, previous: Duration, random: u64) -> Duration {
        self.jitter
            .spread(|| self.grown(retry), previous, self.base, self.cap, random)
    }

    /// The delay before jitter: it never falls from one retry to the next, and stays at the cap
    /// once it is there.
    fn grown(&self, retry: u32) -> Duration {
        let steps = retry.saturating_sub(1);
        let grown = match self.growth {
            Growth::Constant => self.base,
            Growth::Linear => self.base.saturating_mul(retry.max(1)),
            Growth::Exponential { factor } => scale(self.base, factor, steps),
        };
        grown.min(self.cap)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(DEFAULT_BASE)
    }
}

/// `base` x `factor` ^ `exponent`, or [`Duration::MAX`] where that is more.
fn scale(base: Duration, factor: f64, exponent: u32) -> Duration {
    let whole = factor as u32;
    let scaled = if f64::from(whole) == factor {
        // To the nanosecond, which a float of seconds is not.
        whole_scale(base, whole, exponent)
    } else {
        let factor = factor.powf(f64::from(exponent));
        // A product that is no number comes from zero times infinity.
        let product = Duration::try_from_secs_f64(base.as_secs_f64() * factor);
        // A long base loses its last digits in a float, and must not shrink by that.
        product.ok().map(|product| product.max(base))
    };
    scaled.unwrap_or(if base.is_zero() { base } else { Duration::MAX })
}

/// `None` where that is more than a [`Duration`] can hold.
fn whole_scale(base: Duration, factor: u32, exponent: u32) -> Option<Duration> {
    const NANOS: u128 = 1_000_000_000;
    let nanos = u128::from(factor)
        .checked_pow(exponent)?
        .checked_mul(base.as_nanos())?;
    let seconds = (nanos / NANOS).try_into().ok()?;
    Some(Duration::new(seconds, (nanos % NANOS) as u32))
}
