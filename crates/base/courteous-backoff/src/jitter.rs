use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// How chance spreads the delays of clients that failed together.
///
/// `grown` is what the growth yields for the retry, never above the cap; `uniform(a, b)` is any
/// duration from `a` to `b`, both included, each nanosecond as likely as any other
/// (to one part in 2^64 of the range).
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
    /// The delay that belongs to `random`. `grown` and `base` are not above `cap`.
    pub(crate) fn spread(
        self,
        grown: impl FnOnce() -> Duration,
        previous: Duration,
        base: Duration,
        cap: Duration,
        random: u64,
    ) -> Duration {
        match self {
            Self::None => grown(),
            Self::Full => uniform(Duration::ZERO, grown(), random),
            Self::Equal => {
                let grown = grown();
                uniform(grown / 2, grown, random)
            }
            Self::Decorrelated => {
                // The published formula draws up to three times the previous delay and then cuts
                // off at the cap, where two of three clients would meet again. Cutting off the
                // range instead keeps them apart.
                let highest = previous.max(base).saturating_mul(3).min(cap);
                uniform(base, highest, random)
            }
        }
    }
}

/// The duration from `lowest` to `highest`, both included, that belongs to `random`.
fn uniform(lowest: Duration, highest: Duration, random: u64) -> Duration {
    let count = highest.saturating_sub(lowest).as_nanos() + 1;
    // `random * count / 2^64`, in two halves: a duration has up to 94 bits of nanoseconds.
    let random = u128::from(random);
    let (high, low) = (count >> 64, count & u128::from(u64::MAX));
    let nanos = random * high + ((random * low) >> 64);
    let seconds = u64::try_from(nanos / NANOS).unwrap_or(u64::MAX);
    lowest.saturating_add(Duration::new(seconds, (nanos % NANOS) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_range_is_reached_and_never_left() {
        let ns = Duration::from_nanos;
        for (lowest, highest) in [
            (ns(0), ns(0)),
            (ns(0), ns(1)),
            (ns(7), ns(9)),
            (ns(3), Duration::from_secs(20)),
            (ns(0), Duration::MAX),
            (Duration::MAX, Duration::MAX),
        ] {
            assert_eq!(uniform(lowest, highest, 0), lowest);
            let last = uniform(lowest, highest, u64::MAX);
            assert!(last <= highest, "{last:?}");
            // Of a range of more than 2^64 nanoseconds not each is reached.
            assert!(highest - last <= Duration::from_secs(2), "{last:?}");
        }
        let thirds = [0, u64::MAX / 2, u64::MAX].map(|random| uniform(ns(7), ns(9), random));
        assert_eq!(thirds, [ns(7), ns(8), ns(9)]);
    }
}
