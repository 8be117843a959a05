use std::time::Duration;

use http::Response;
use tokio::time::Instant;

/// What a retry did for one call.
///
/// Rides in the extensions of a response and in [`Retried`](crate::Retried). A response that was the answer to the first
/// attempt carries none, as putting it there would allocate: [`of`](Self::of) tells the same for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryInfo {
    pub(crate) attempts: u32,
    pub(crate) waited: Duration,
    pub(crate) stop_reason: StopReason,
    pub(crate) not_before: Option<Instant>,
}

/// Why there was no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The server answered.
    Answered,
    /// Another attempt would fail alike.
    Permanent,
    /// The server asked for no further attempt.
    Vetoed,
    /// The caller asked for no further attempt, with [`NoRetry`](crate::NoRetry).
    Disabled,
    /// All attempts that were allowed have been made.
    AttemptsExhausted,
    /// The request may have been processed, and is neither idempotent by its method nor has a key.
    NotIdempotent,
    /// The body cannot be sent again: it is too large to be kept, or can be read only once.
    BodyNotReplayable,
    /// The wait would have been, in sum, longer than the retry may wait in one call.
    WaitTooLong,
    /// The wait would have ended after the call's deadline, or the deadline has passed.
    Deadline,
    /// The budget has not the price of another attempt.
    BudgetExhausted,
    /// A limit further in refused the attempt.
    Rejected,
}

impl RetryInfo {
    /// What the retry around it did to get `response`.
    #[must_use]
    pub fn of<B>(response: &Response<B>) -> Self {
        response.extensions().get().copied().unwrap_or(Self {
            attempts: 1,
            waited: Duration::ZERO,
            stop_reason: StopReason::Answered,
            not_before: None,
        })
    }

    /// How many attempts were made, the first included. Zero if a limit refused the first one.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long the retry itself waited between them, in sum.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// Why there was no further attempt.
    #[must_use]
    pub const fn stop_reason(&self) -> StopReason {
        self.stop_reason
    }

    /// When another call may be made at the earliest, if the server has said so.
    #[must_use]
    pub const fn not_before(&self) -> Option<Instant> {
        self.not_before
    }
}
