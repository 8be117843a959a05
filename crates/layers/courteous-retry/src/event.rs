use std::time::Duration;

use courteous_core::{Origin, Outcome, RequestLine, Verdict};
use http::{Method, StatusCode};

/// What is told before the wait for a further attempt: see
/// [`RetryLayer::with_on_retry`](crate::RetryLayer::with_on_retry).
#[derive(Clone, Copy, Debug)]
pub struct RetryEvent<'a> {
    pub(crate) attempt: u32,
    pub(crate) wait: Duration,
    pub(crate) request: &'a RequestLine,
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

    /// The request's method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.request.method()
    }

    /// The server that the request is for. Its `Display` form names scheme, host and port, and no secret.
    ///
    /// Path and query, which may hold one, are in the [`request`](Outcome::request) of the [`outcome`](Self::outcome).
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.request.origin()
    }

    /// The status that the attempt was answered with, if it was.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        self.outcome.status()
    }

    /// The outcome of that attempt.
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
