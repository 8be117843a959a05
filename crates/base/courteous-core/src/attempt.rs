use http::StatusCode;
use tokio::time::Instant;

use crate::Verdict;

/// One attempt that failed, in brief.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    ended: Instant,
    verdict: Verdict,
    status: Option<StatusCode>,
}

impl Attempt {
    /// Attempt `number`, counted from 1, which failed at `ended`; with the `status` of its response, if it had one.
    #[must_use]
    pub const fn new(
        number: u32,
        ended: Instant,
        verdict: Verdict,
        status: Option<StatusCode>,
    ) -> Self {
        Self {
            number,
            ended,
            verdict,
            status,
        }
    }

    /// Which one it was, from 1.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// When it was known to have failed.
    #[must_use]
    pub const fn ended(&self) -> Instant {
        self.ended
    }

    /// What its failure meant for another one.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The status of its response, if it had one.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        self.status
    }
}

/// The attempts of one call that failed: the first, and the last seven. Allocates with the first failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    attempts: Vec<Attempt>,
    maybe_sent: bool,
    maybe_processed: bool,
}

impl History {
    /// The most that are kept.
    pub const MAX: usize = 8;

    /// No attempt has failed.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            attempts: Vec::new(),
            maybe_sent: false,
            maybe_processed: false,
        }
    }

    /// Adds one that has failed. The second oldest makes room for the ninth.
    pub fn push(&mut self, attempt: Attempt) {
        if self.attempts.len() == Self::MAX {
            self.attempts.remove(1);
        }
        self.maybe_sent |= attempt.verdict.is_maybe_sent();
        self.maybe_processed |= attempt.verdict.is_maybe_processed();
        self.attempts.push(attempt);
    }

    /// Adds those of a retry further in, which came after `before` others. They are counted on from there.
    pub fn append(&mut self, inner: &Self, before: u32) {
        for &attempt in &inner.attempts {
            let number = attempt.number.saturating_add(before);
            self.push(Attempt { number, ..attempt });
        }
        // Some are no longer kept.
        self.maybe_sent |= inner.maybe_sent;
        self.maybe_processed |= inner.maybe_processed;
    }

    /// Those that are kept, in their order.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Whether one of all that failed, kept or not, may have reached the server.
    #[must_use]
    pub const fn is_maybe_sent(&self) -> bool {
        self.maybe_sent
    }

    /// Whether the server may have acted on one of all that failed, kept or not: one that was sent, and not refused.
    #[must_use]
    pub const fn is_maybe_processed(&self) -> bool {
        self.maybe_processed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effect, Fault};

    fn attempt(number: u32, effect: Effect) -> Attempt {
        let verdict = Verdict::transient(effect, Fault::NoResponse);
        Attempt::new(number, Instant::now(), verdict, None)
    }

    #[test]
    fn the_first_and_the_last_seven_are_kept() {
        let mut history = History::new();
        (1..=20).for_each(|number| history.push(attempt(number, Effect::NeverSent)));
        let numbers: Vec<_> = history.attempts().iter().map(Attempt::number).collect();
        assert_eq!(numbers, [1, 14, 15, 16, 17, 18, 19, 20]);
        assert!(!history.is_maybe_sent());
    }

    #[test]
    fn one_that_may_have_been_sent_is_not_forgotten() {
        let mut history = History::new();
        history.push(attempt(1, Effect::NeverSent));
        history.push(attempt(2, Effect::MaybeProcessed));
        (3..=20).for_each(|number| history.push(attempt(number, Effect::NeverSent)));
        assert!(history.is_maybe_sent() && history.is_maybe_processed());
    }

    #[test]
    fn attempts_that_were_only_refused_were_sent_but_not_processed() {
        let mut history = History::new();
        (1..=20).for_each(|number| history.push(attempt(number, Effect::Refused)));
        assert!(history.is_maybe_sent() && !history.is_maybe_processed());
        history.push(attempt(21, Effect::InProgress));
        assert!(history.is_maybe_processed());
    }
}
