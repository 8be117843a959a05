use std::{error::Error, fmt};

/// A limit that would admit nothing, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLimit {
    limit: usize,
}

impl InvalidLimit {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// The value that was refused.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }
}

impl fmt::Display for InvalidLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a concurrency limit of {} admits nothing", self.limit)
    }
}

impl Error for InvalidLimit {}
