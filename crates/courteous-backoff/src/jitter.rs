use std::time::Duration;

use rand::{Rng, RngExt};

/// How chance spreads the delays of clients that failed together.
///
/// `grown` is what the growth yields for the retry, never above the cap; `uniform(a, b)` is any
/// duration from `a` to `b`, both included, each nanosecond as likely as any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// No chance: `grown`. Clients that failed together come back together.
    None,
    /// `uniform(0, grown)`, the default: nothing spreads a crowd wider. Half of `grown` is the
    /// mean, and some delays are close to zero.
    #[default]
    Full,
    /// `grown / 2 + uniform(0, grown / 2)`: a delay that is never close to zero.
    Equal,
    /// `uniform(base, min(cap, 3 * previous))`, where `previous` is the delay before this one, or
    /// `base` before the first.
    ///
    /// It brings its own growth: only the base and the cap of the backoff count.
    Decorrelated,
}

impl Jitter {
    /// Draws the delay. `grown` and `base` are not above `cap`.
    pub(crate) fn spread<R: Rng + ?Sized>(
        self,
        grown: impl FnOnce() -> Duration,
        previous: Duration,
        base: Duration,
        cap: Duration,
        rng: &mut R,
    ) -> Duration {
        match self {
            Self::None => grown(),
            Self::Full => rng.random_range(Duration::ZERO..=grown()),
            Self::Equal => {
                let grown = grown();
                rng.random_range(grown / 2..=grown)
            }
            Self::Decorrelated => {
                // The published formula draws up to three times the previous delay and then cuts
                // off at the cap, where two of three clients would meet again. Cutting off the
                // range instead keeps them apart.
                let highest = previous.max(base).saturating_mul(3).min(cap);
                rng.random_range(base..=highest)
            }
        }
    }
}
