use std::{fmt, str::FromStr};

use courteous_core::StopReason;

use crate::UnknownWord;

/// Why a call has finally failed and is therefore recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// All allowed attempts have failed.
    Attempts,
    /// The retry budget could not pay for another attempt.
    Budget,
    /// The call's time was up, or the wait for another attempt would have outlasted it.
    Deadline,
    /// The server asked for a longer wait than one call may have: the letter's `not_before` says until when.
    WaitTooLong,
    /// The server asked for a pause that the key does not outlive, and an earlier attempt may have
    /// been processed. When the pause is over, the server may have forgotten the key, and would
    /// process the request again. The letter is expired from the beginning. This reason replaces
    /// the reason that the pause had, which decided that the call is recorded.
    KeyRunsOut,
    /// The call was not sent, as another operation has its idempotency key: by
    /// [`RejectReason::KeyReused`](courteous_core::RejectReason::KeyReused). Under this key, the
    /// server would take the call for the other operation. The letter is expired from the
    /// beginning, and no redrive sends it.
    KeyReused,
    /// One of our limits rejected the call or its next attempt.
    Rejected,
    /// The call may have been processed, and neither its method nor a key made another attempt
    /// safe; or it writes under a precondition that its own effect makes false.
    NotIdempotent,
    /// The call's body could not be sent again.
    BodyNotReplayable,
    /// The call failed in a way that may pass, and there was no retry, or retries were off for this
    /// call.
    NotRetried,
    /// The call failed, and would fail again in the same way. Its last attempt was sent: otherwise
    /// the reason is [`Unsendable`](Self::Unsendable).
    Permanent,
    /// The last attempt was not sent. Another attempt would fail in the same way until something is
    /// changed: a certificate, a proxy, the target, or one of our limits. The letter's `maybe_sent`
    /// tells whether an earlier attempt may have been sent.
    Unsendable,
    /// The call failed, and the server asked for no further attempt.
    Vetoed,
    /// The caller dropped the call before it had ended.
    Abandoned,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 14] = [
        Self::Attempts,
        Self::Budget,
        Self::Deadline,
        Self::WaitTooLong,
        Self::KeyRunsOut,
        Self::KeyReused,
        Self::Rejected,
        Self::NotIdempotent,
        Self::BodyNotReplayable,
        Self::NotRetried,
        Self::Permanent,
        Self::Unsendable,
        Self::Vetoed,
        Self::Abandoned,
    ];

    /// The word for the reason, as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::WaitTooLong => "wait_too_long",
            Self::KeyRunsOut => "key_runs_out",
            Self::KeyReused => "key_reused",
            Self::Rejected => "rejected",
            Self::NotIdempotent => "not_idempotent",
            Self::BodyNotReplayable => "body_not_replayable",
            Self::NotRetried => "not_retried",
            Self::Permanent => "permanent",
            Self::Unsendable => "unsendable",
            Self::Vetoed => "vetoed",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether a letter that failed for this reason is expired from the beginning: it is kept for
    /// inspection, and never sent again.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::KeyRunsOut | Self::KeyReused)
    }

    /// The reason for the retry's `stop`. `None` if the server answered.
    pub(crate) const fn of(stop: StopReason) -> Option<Self> {
        Some(match stop {
            StopReason::Answered => return None,
            StopReason::AttemptsExhausted => Self::Attempts,
            StopReason::BudgetExhausted => Self::Budget,
            StopReason::Deadline => Self::Deadline,
            StopReason::WaitTooLong => Self::WaitTooLong,
            StopReason::Rejected => Self::Rejected,
            StopReason::NotIdempotent | StopReason::Precondition => Self::NotIdempotent,
            StopReason::BodyNotReplayable => Self::BodyNotReplayable,
            StopReason::Disabled => Self::NotRetried,
            StopReason::Vetoed => Self::Vetoed,
            _ => Self::Permanent,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let mut all = Self::ALL.into_iter();
        all.find(|reason| reason.as_str() == word)
            .ok_or(UnknownWord(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_word() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert_eq!("Attempts".parse::<Reason>(), Err(UnknownWord(())));
    }
}
