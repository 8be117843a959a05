use std::{error::Error, fmt};

/// An error of the [`Probe`](crate::Probe)'s own, which a layer must let through: as itself or as the innermost cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeError {
    /// `poll_ready` failed.
    Readiness,
    /// The response future failed.
    Call,
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Readiness => "the probe is broken",
            Self::Call => "the probe's call failed",
        })
    }
}

impl Error for ProbeError {}
