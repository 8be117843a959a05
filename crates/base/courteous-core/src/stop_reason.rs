use std::fmt;

/// Why there was no further attempt.
///
/// `Display` is one phrase for it, as an error says it; [`as_str`](Self::as_str) is its name in events:
///
/// ```
/// use courteous_core::StopReason;
///
/// assert_eq!(StopReason::BudgetExhausted.to_string(), "the retry budget is spent");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The server answered.
    Answered,
    /// Another attempt would fail alike.
    Permanent,
    /// The server asked for no further attempt.
    Vetoed,
    /// The caller asked for no further attempt.
    Disabled,
    /// All attempts that were allowed have been made.
    AttemptsExhausted,
    /// The request may have been processed, and is neither idempotent by its method nor has a key.
    NotIdempotent,
    /// The request may have been processed, and writes under a precondition that its own effect makes false: sent again, it
    /// could be told that another writer was first.
    Precondition,
    /// The body cannot be sent again: it is too large to be kept, or can be read only once.
    BodyNotReplayable,
    /// The wait would have been, in sum, longer than the retry may wait in one call.
    WaitTooLong,
    /// The wait would have ended after the call's deadline, or the deadline has passed.
    Deadline,
    /// The budget has not the price of another attempt.
    BudgetExhausted,
    /// A layer further in rejected the attempt: mostly a limit.
    Rejected,
}

impl StopReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: &'static [Self] = &[
        Self::Answered,
        Self::Permanent,
        Self::Vetoed,
        Self::Disabled,
        Self::AttemptsExhausted,
        Self::NotIdempotent,
        Self::Precondition,
        Self::BodyNotReplayable,
        Self::WaitTooLong,
        Self::Deadline,
        Self::BudgetExhausted,
        Self::Rejected,
    ];

    /// Its name in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Permanent => "permanent",
            Self::Vetoed => "vetoed",
            Self::Disabled => "disabled",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::NotIdempotent => "not_idempotent",
            Self::Precondition => "precondition",
            Self::BodyNotReplayable => "body_not_replayable",
            Self::WaitTooLong => "wait_too_long",
            Self::Deadline => "deadline",
            Self::BudgetExhausted => "budget_exhausted",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Answered => "the server answered",
            Self::Permanent => "another attempt would fail in the same way",
            Self::Vetoed => "the server asked for no further attempt",
            Self::Disabled => "retries are off for this request",
            Self::AttemptsExhausted => "all allowed attempts were made",
            Self::NotIdempotent => {
                "the request may have been processed, and has neither an idempotent method nor an idempotency key"
            }
            Self::Precondition => {
                "the request may have been processed, and its precondition would fail on its own effect"
            }
            Self::BodyNotReplayable => "the request body cannot be sent again",
            Self::WaitTooLong => "the next wait is longer than a call may wait",
            Self::Deadline => "the deadline leaves no time for another attempt",
            Self::BudgetExhausted => "the retry budget is spent",
            Self::Rejected => "a layer of this client rejected the attempt",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_reason_has_a_phrase_of_its_own_on_one_line() {
        let phrases: HashSet<_> = StopReason::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(phrases.len(), StopReason::ALL.len());
        for phrase in phrases {
            assert!(phrase.starts_with(char::is_lowercase) && !phrase.ends_with('.'));
            assert!(
                !phrase.contains(['\n', ':']) && phrase.len() < 100,
                "{phrase}"
            );
        }
    }

    #[test]
    fn all_reasons_are_listed() {
        // The last variant that is declared: a variant that is added after it goes here.
        assert_eq!(StopReason::ALL.last(), Some(&StopReason::Rejected));
        for (index, reason) in StopReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
