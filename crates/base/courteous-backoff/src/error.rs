use std::{error::Error, fmt};

/// A [`Backoff`](crate::Backoff) was asked for what no backoff can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBackoff(Reason);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Factor,
    NoFactor,
    CapBelowBase,
}

impl InvalidBackoff {
    pub(crate) const FACTOR: Self = Self(Reason::Factor);
    pub(crate) const NO_FACTOR: Self = Self(Reason::NoFactor);
    pub(crate) const CAP_BELOW_BASE: Self = Self(Reason::CapBelowBase);
}

impl fmt::Display for InvalidBackoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Reason::Factor => "a backoff's factor must be finite and at least 1",
            Reason::NoFactor => "only an exponential backoff has a factor",
            Reason::CapBelowBase => "a backoff's cap must not be below its base",
        })
    }
}

impl Error for InvalidBackoff {}
