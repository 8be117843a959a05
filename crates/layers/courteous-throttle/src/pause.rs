use std::time::Duration;

/// A time of up to 584 years, in nanoseconds: half as large as a [`Duration`], as each byte of a call
/// is moved several times. What is longer is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pause(u64);

impl Pause {
    pub(crate) const fn new(pause: Duration) -> Self {
        let nanos = pause.as_nanos();
        Self(match nanos < u64::MAX as u128 {
            true => nanos as u64,
            false => u64::MAX,
        })
    }

    pub(crate) const fn get(self) -> Duration {
        match self.0 {
            u64::MAX => Duration::MAX,
            nanos => Duration::from_nanos(nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_as_it_was_set_up_to_584_years() {
        let year = Duration::from_secs(31_556_952);
        for pause in [
            Duration::ZERO,
            Duration::from_nanos(1),
            year,
            584 * year,
            Duration::MAX,
        ] {
            assert_eq!(Pause::new(pause).get(), pause);
        }
        assert_eq!(Pause::new(585 * year).get(), Duration::MAX);
    }
}
