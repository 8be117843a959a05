use std::{error::Error, fmt, num::NonZeroU32, time::Duration};

use courteous_core::Rate;

use crate::terms::Terms;

/// What happens to calls while Redis is away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outage {
    /// Calls wait for Redis. A call without a deadline waits until Redis has been away for
    /// `patience`.
    Closed { patience: Duration },
    /// Calls use this worker's own share.
    Share(LocalShare),
    /// Calls are sent.
    Open,
}

impl Outage {
    pub(crate) const DEFAULT: Self = Self::Closed {
        patience: Duration::from_secs(5),
    };

    /// The terms of the slots that Redis hands out.
    pub(crate) fn terms(self, rate: Rate) -> Terms {
        match self {
            Self::Share(share) => share.redis(rate),
            Self::Closed { .. } | Self::Open => Terms::of(rate),
        }
    }
}

/// A part of a rate that Redis never hands out, so that workers that cannot reach Redis can go on.
///
/// With a `reserve` of 0.2 and `max_workers` of 8, Redis hands out 80 % of the rate, and each
/// worker that is cut off goes on at 2.5 %. However many workers are cut off, in whatever groups,
/// all together never exceed the rate, if there are no more than `max_workers`. Count each bucket
/// that is made for the name, also if a process has several. Count also the workers that overlap
/// while a new version is rolled out. While Redis is there, the reserve is not used.
///
/// The burst is split as the rate is. Each worker's part of the burst is at least 1, so the burst
/// must be above `max_workers`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalShare {
    reserve: f64,
    max_workers: NonZeroU32,
}

impl LocalShare {
    /// Keeps the ratio `reserve` of the rate back, for at most `max_workers`.
    ///
    /// # Errors
    ///
    /// Fails if `reserve` is not above 0 and below 1.
    pub fn new(reserve: f64, max_workers: NonZeroU32) -> Result<Self, InvalidShare> {
        if reserve > 0.0 && reserve < 1.0 {
            Ok(Self {
                reserve,
                max_workers,
            })
        } else {
            Err(InvalidShare::Reserve(reserve))
        }
    }

    /// The ratio of the rate that Redis does not hand out.
    #[must_use]
    pub const fn reserve(&self) -> f64 {
        self.reserve
    }

    /// The most buckets that there are for the name, in all processes.
    #[must_use]
    pub const fn max_workers(&self) -> NonZeroU32 {
        self.max_workers
    }

    pub(crate) fn check(self, rate: Rate) -> Result<Self, InvalidShare> {
        let (burst, workers) = (rate.burst().get(), self.max_workers.get());
        if burst > workers {
            Ok(self)
        } else {
            Err(InvalidShare::Burst { burst, workers })
        }
    }

    /// The burst of each worker.
    fn burst(self, rate: Rate) -> u32 {
        let burst = f64::from(rate.burst().get());
        ((burst * self.reserve) as u32 / self.max_workers).max(1)
    }

    fn redis(self, rate: Rate) -> Terms {
        let locals = self.burst(rate).saturating_mul(self.max_workers.get());
        let burst = rate.burst().get().saturating_sub(locals);
        Terms::new(stretched(rate, 1.0 - self.reserve), burst)
    }

    /// The terms of one worker's part of the reserve.
    pub(crate) fn local(self, rate: Rate) -> Terms {
        let part = self.reserve / f64::from(self.max_workers.get());
        Terms::new(stretched(rate, part), self.burst(rate))
    }
}

/// Returns the interval of a `part` of `rate`. Casts from a float saturate.
fn stretched(rate: Rate, part: f64) -> u64 {
    (rate.per() as f64 / rate.tokens() as f64 / part).ceil() as u64
}

/// A local share that is not possible.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum InvalidShare {
    /// The reserve is not above 0 and below 1.
    Reserve(f64),
    /// The burst is not above the number of workers, and each worker needs a part of it.
    Burst {
        /// The rate's burst.
        burst: u32,
        /// The most workers that there may be.
        workers: u32,
    },
}

impl fmt::Display for InvalidShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserve(reserve) => {
                write!(
                    f,
                    "invalid reserve {reserve}: it must be above 0 and below 1"
                )
            }
            Self::Burst { burst, workers } => write!(
                f,
                "a burst of {burst} cannot be shared by Redis and {workers} workers: it must be above their number"
            ),
        }
    }
}

impl Error for InvalidShare {}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whichever workers are cut off, their bursts add up to a burst, and their rates to a
        /// rate.
        #[test]
        fn all_parts_together_are_the_whole(
            (interval, burst, reserve) in (1_u64..10_000_000_000, 2_u32.., 0.001..0.999),
            workers in 1_u32..1_000,
        ) {
            let rate = Rate::new(1, Duration::from_nanos(interval)).unwrap();
            let rate = rate.with_burst(NonZeroU32::new(burst).unwrap());
            let workers = NonZeroU32::new(workers.min(burst - 1)).unwrap();
            let share = LocalShare::new(reserve, workers).unwrap().check(rate).unwrap();
            let (redis, local) = (share.redis(rate), share.local(rate));
            let workers = u64::from(workers.get());
            let bursts = u64::from(redis.burst()) + workers * u64::from(local.burst());
            prop_assert!(bursts <= u64::from(burst), "{redis:?} {local:?}");
            let per_nano = 1.0 / redis.interval() as f64 + workers as f64 / local.interval() as f64;
            prop_assert!(per_nano <= 1.0 / interval as f64 * (1.0 + 1e-12), "{redis:?} {local:?}");
        }
    }
}
