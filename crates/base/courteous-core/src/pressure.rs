use std::{error::Error, fmt};

use crate::{BoxError, Outcome, find_cause};

/// How much the server of a call has to do, as an adaptive limit has learned from its answers.
///
/// The limit puts it on a response, and into the error of a failed attempt, if it is not [`Calm`](Self::Calm). So on a
/// response without one, either all is calm, or no adaptive limit is there. A retry's budget reads it: while a server is
/// not calm, a retry after silence is not worth its price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pressure {
    /// Latency is near its baseline, and at least half of the attempts succeed.
    #[default]
    Calm,
    /// Fewer than five answers came so far, and this attempt failed.
    Unknown,
    /// Latency is twice its baseline, or most attempts fail.
    Raised,
    /// The same, and the limit was cut within the last round trip, or is below one attempt at a time.
    Overloaded,
}

impl Pressure {
    /// Its name in events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Unknown => "unknown",
            Self::Raised => "raised",
            Self::Overloaded => "overloaded",
        }
    }

    /// What an adaptive limit further in has said of the attempt that ended so. [`Calm`](Self::Calm) if it said nothing.
    #[must_use]
    pub fn of(outcome: Outcome<'_>) -> Self {
        let told = match outcome.result() {
            Ok(head) => head.extensions().get::<Self>().copied(),
            Err(error) => find_cause::<UnderPressure>(error).map(UnderPressure::pressure),
        };
        told.unwrap_or_default()
    }

    /// Whether the server is well, or nothing is known of it.
    #[must_use]
    pub const fn is_calm(self) -> bool {
        matches!(self, Self::Calm | Self::Unknown)
    }

    /// The error with this pressure, to be found by [`UnderPressure`].
    #[must_use]
    pub fn with_error(self, source: BoxError) -> BoxError {
        let pressure = self;
        UnderPressure { pressure, source }.into()
    }
}

/// An attempt failed while its server was not calm, as an adaptive limit has learned.
///
/// Its source is the attempt's own error.
#[derive(Debug)]
pub struct UnderPressure {
    pressure: Pressure,
    source: BoxError,
}

impl UnderPressure {
    /// How much the server had to do.
    #[must_use]
    pub const fn pressure(&self) -> Pressure {
        self.pressure
    }
}

impl fmt::Display for UnderPressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pressure {
            Pressure::Overloaded => write!(f, "{} (the server is overloaded)", self.source),
            _ => self.source.fmt(f),
        }
    }
}

impl Error for UnderPressure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
