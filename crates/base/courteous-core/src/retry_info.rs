use std::time::Duration;

use http::{Extensions, Response};
use tokio::time::Instant;

use crate::{History, StopReason};

/// What a retry did for one call.
///
/// Rides in the extensions of a response and in [`Retried`](crate::Retried). A response that was the answer to the first
/// attempt carries none, as putting it there would allocate: [`of`](Self::of) tells the same for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryInfo {
    attempts: u32,
    waited: Duration,
    stop_reason: StopReason,
    not_before: Option<Instant>,
    history: History,
}

impl RetryInfo {
    /// A call that ended for `stop_reason` after so many `attempts`, with the retry's own waits in sum.
    #[must_use]
    pub const fn new(
        attempts: u32,
        waited: Duration,
        stop_reason: StopReason,
        not_before: Option<Instant>,
        history: History,
    ) -> Self {
        Self {
            attempts,
            waited,
            stop_reason,
            not_before,
            history,
        }
    }

    /// What the retry around it did to get `response`.
    #[must_use]
    pub fn of<B>(response: &Response<B>) -> Self {
        Self::in_extensions(response.extensions())
    }

    /// What the retry did to get the response with these extensions, whose type is not `http`'s own.
    #[must_use]
    pub fn in_extensions(extensions: &Extensions) -> Self {
        let info = extensions.get().cloned();
        info.unwrap_or(Self::new(
            1,
            Duration::ZERO,
            StopReason::Answered,
            None,
            History::new(),
        ))
    }

    /// How many attempts were made, the first included. Zero if a limit rejected the first one.
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

    /// The attempts that failed.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }
}
