use std::{error, fmt, time::Duration};

/// The settings of a [`Stack`](crate::Stack) contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidStack {
    pub(super) attempt: Duration,
    pub(super) total: Duration,
}

impl fmt::Display for InvalidStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the attempt timeout of {:?} is longer than the total timeout of {:?}: \
             shorten the one or lengthen the other",
            self.attempt, self.total
        )
    }
}

impl error::Error for InvalidStack {}
