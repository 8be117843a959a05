use std::{error::Error, fmt};

use http::{HeaderMap, StatusCode};

use crate::{BoxError, RetryInfo, StopReason};

/// A call failed without a response, after all the attempts that were allowed.
///
/// The error of the last attempt is the [`source`](Error::source). Where an attempt before it had a response, its status
/// and headers are here.
#[derive(Debug)]
pub struct Retried {
    info: RetryInfo,
    last: Option<(StatusCode, HeaderMap)>,
    source: BoxError,
}

impl Retried {
    /// The last attempt failed with `source`.
    #[must_use]
    pub const fn new(info: RetryInfo, source: BoxError) -> Self {
        Self {
            info,
            last: None,
            source,
        }
    }

    /// States what the last response said that was let go.
    #[must_use]
    pub fn with_last(mut self, status: StatusCode, headers: HeaderMap) -> Self {
        self.last = Some((status, headers));
        self
    }

    /// What was tried, and why it ended.
    #[must_use]
    pub const fn info(&self) -> &RetryInfo {
        &self.info
    }

    /// The status of the last response that was let go for another attempt.
    #[must_use]
    pub fn last_status(&self) -> Option<StatusCode> {
        self.last.as_ref().map(|last| last.0)
    }

    /// The header fields of the last response that was let go for another attempt.
    #[must_use]
    pub fn last_headers(&self) -> Option<&HeaderMap> {
        self.last.as_ref().map(|last| &last.1)
    }

    /// The error of the last attempt.
    #[must_use]
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

impl fmt::Display for Retried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.info.attempts();
        let s = if attempts == 1 { "" } else { "s" };
        write!(f, "gave up after {attempts} attempt{s}: ")?;
        f.write_str(match self.info.stop_reason() {
            StopReason::Answered => "the server answered",
            StopReason::Permanent => "another one would fail alike",
            StopReason::Vetoed => "the server asked for no other",
            StopReason::Disabled => "retries are off for this request",
            StopReason::AttemptsExhausted => "no more are allowed",
            StopReason::NotIdempotent => {
                "the request may have been processed, and has no idempotency key"
            }
            StopReason::Precondition => {
                "the request may have been processed, and would meet its own effect by its precondition"
            }
            StopReason::BodyNotReplayable => "its body cannot be sent again",
            StopReason::WaitTooLong => "the next one would be too long to wait for",
            StopReason::Deadline => "the deadline leaves no time for another",
            StopReason::BudgetExhausted => "the retry budget is spent",
            StopReason::Rejected => "a limit refused the next one",
        })
    }
}

impl Error for Retried {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
