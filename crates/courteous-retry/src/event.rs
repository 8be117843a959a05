use std::time::Duration;

use courteous_core::{Outcome, Verdict};

/// What is told before the wait for a further attempt: see
/// [`RetryLayer::with_on_retry`](crate::RetryLayer::with_on_retry).
#[derive(Clone, Copy, Debug)]
pub struct RetryEvent<'a> {
    pub(crate) attempt: u32,
    pub(crate) wait: Duration,
    pub(crate) outcome: Outcome<'a>,
    pub(crate) verdict: Verdict,
}

impl<'a> RetryEvent<'a> {
    /// The number of the attempt that failed, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long the wait for the next one will be.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        self.wait
    }

    /// What came of it.
    #[must_use]
    pub const fn outcome(&self) -> Outcome<'a> {
        self.outcome
    }

    /// How that was judged.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }
}
