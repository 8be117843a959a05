use std::time::Duration;

use courteous_core::Rate;

const MILLI: u64 = 1_000_000;
/// A slot is good for at least this long, so that a timer and the network do not use that up.
const MIN_LEASE: u64 = 20 * MILLI;
/// A slot is good for at most this long, as the cost of a restart of Redis grows with it.
const MAX_LEASE: u64 = 1_000 * MILLI;
const MIN_HORIZON: u64 = 500 * MILLI;
const MAX_HORIZON: u64 = 2_000 * MILLI;
/// No interval is longer than this (36 years).
const MAX_INTERVAL: u64 = 1 << 60;
/// The time that the network and a timer may take from a lease that is used as a whole.
const MIN_SLACK: u64 = 10 * MILLI;

/// The terms of slots that follow from a rate, in nanoseconds. The script computes the same: see
/// `reserve.lua`.
///
/// All uses of slots keep to the rate if, as here, `spacing >= interval` and
/// `burst * spacing >= interval + max(lease, credit + lease)`: see the crate's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    interval: u64,
    burst: u32,
}

impl Terms {
    pub(crate) fn of(rate: Rate) -> Self {
        Self::new(rate.per().div_ceil(rate.tokens()), rate.burst().get())
    }

    /// Makes terms with a token in each `interval`, and a burst, which is at least 1.
    pub(crate) fn new(interval: u64, burst: u32) -> Self {
        Self {
            interval: interval.clamp(1, MAX_INTERVAL),
            burst: burst.max(1),
        }
    }

    pub(crate) const fn interval(self) -> u64 {
        self.interval
    }

    pub(crate) const fn burst(self) -> u32 {
        self.burst
    }

    /// How long a slot is good for once it is open.
    pub(crate) fn lease(self) -> u64 {
        let half = u128::from(self.burst) * u128::from(self.interval) / 2;
        narrow(half).clamp(MIN_LEASE, MAX_LEASE)
    }

    /// The distance from one slot to the next: the interval, or more if the burst is too small for
    /// the lease.
    pub(crate) fn spacing(self) -> u64 {
        let needed = (self.interval + self.lease()).div_ceil(u64::from(self.burst));
        self.interval.max(needed)
    }

    /// Whether the burst is too small for the lease.
    #[cfg(any(feature = "tracing", test))]
    pub(crate) fn is_slow(self) -> bool {
        self.spacing() > self.interval
    }

    /// How far ahead slots are given out.
    pub(crate) fn horizon(self) -> u64 {
        (4 * self.lease()).clamp(MIN_HORIZON, MAX_HORIZON)
    }

    /// How many slots are sure to be open at once, if they are reserved together.
    pub(crate) fn max_cost(self) -> u32 {
        let lease = self.lease();
        let slack = (lease / 4).max(MIN_SLACK);
        let more = (lease - slack) / self.spacing();
        u32::try_from(more)
            .unwrap_or(u32::MAX)
            .saturating_add(1)
            .min(self.burst)
    }

    pub(crate) fn lease_time(self) -> Duration {
        Duration::from_nanos(self.lease())
    }

    pub(crate) fn spacing_time(self) -> Duration {
        Duration::from_nanos(self.spacing())
    }

    pub(crate) fn horizon_time(self) -> Duration {
        Duration::from_nanos(self.horizon())
    }
}

fn narrow(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn terms(rate: &str, burst: u32) -> Terms {
        let rate: Rate = rate.parse().unwrap();
        Terms::of(rate.with_burst(NonZeroU32::new(burst).unwrap()))
    }

    #[test]
    fn a_large_burst_pays_for_its_leases() {
        let terms = terms("2000/s", 200);
        assert_eq!(terms.lease(), 50 * MILLI);
        assert_eq!(terms.credit(), 49_500_000);
        assert_eq!(terms.spacing(), 500_000);
        assert_eq!(terms.horizon(), 500 * MILLI);
        assert_eq!(terms.max_cost(), 76);
        assert!(!terms.is_slow());
    }

    #[test]
    fn a_burst_too_small_for_a_lease_widens_the_spacing() {
        let terms = terms("100/s", 1);
        assert_eq!(terms.lease(), 20 * MILLI);
        assert_eq!(terms.credit(), 0);
        assert_eq!(terms.spacing(), 30 * MILLI);
        assert_eq!(terms.max_cost(), 1);
        assert!(terms.is_slow());
    }

    #[test]
    fn the_ends_of_all_ranges_can_be_computed() {
        let day = Duration::from_secs(24 * 60 * 60);
        for rate in [
            Rate::UNLIMITED,
            Rate::new(1, 365 * 500 * day).unwrap(),
            Rate::new(u32::MAX, day).unwrap(),
        ] {
            for burst in [NonZeroU32::MIN, NonZeroU32::MAX] {
                let terms = Terms::of(rate.with_burst(burst));
                assert!(terms.spacing() >= terms.interval());
                assert!((1..=terms.burst()).contains(&terms.max_cost()));
            }
        }
    }

    proptest! {
        /// Checks the conditions of the proof on the crate's page.
        #[test]
        fn the_spacing_is_wide_enough(interval in 1_u64..1 << 62, burst in 1_u32..) {
            let terms = Terms::new(interval, burst);
            let (spacing, lease) = (u128::from(terms.spacing()), u128::from(terms.lease()));
            let interval = u128::from(terms.interval());
            let window = lease.max(u128::from(terms.credit()) + lease);
            prop_assert!(spacing >= interval);
            prop_assert!(u128::from(burst) * spacing >= interval + window);
            // All slots of one request can be open at once, with time to spare.
            let last = u128::from(terms.max_cost() - 1) * spacing;
            prop_assert!(terms.max_cost() == 1 || last + u128::from(MIN_SLACK) <= lease);
        }
    }
}
