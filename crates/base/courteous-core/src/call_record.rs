use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Attempt, History, RetryInfo, StopReason};

/// What a retry has done so far for one call, readable from outside while the call is under way, and after it was dropped.
///
/// A layer that has to know puts one into the request's extensions and keeps a clone. A retry takes it out, and writes down
/// each attempt; so nothing further in sees it.
///
/// # Sharing
///
/// Clones are the same trail.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    followed: bool,
    attempts: u32,
    under_way: bool,
    history: History,
    idempotent: Option<bool>,
}

impl Trail {
    /// A trail without an attempt.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Attempt `number`, counted from 1, is handed to the inner service.
    pub fn begin(&self, number: u32) {
        let mut state = self.lock();
        state.followed = true;
        state.attempts = number;
        state.under_way = true;
    }

    /// The attempt that was under way has failed.
    pub fn fail(&self, attempt: Attempt) {
        let mut state = self.lock();
        state.under_way = false;
        state.history.push(attempt);
    }

    /// The attempt that was under way was made by a retry further in, which did what `inner` says, after `before` attempts. That
    /// makes `attempts` in all.
    ///
    /// If the server has answered the inner retry, the last of them counts as under way until it [fails](Self::fail).
    pub fn add(&self, attempts: u32, inner: &RetryInfo, before: u32) {
        let mut state = self.lock();
        state.under_way = inner.stop_reason() == StopReason::Answered;
        state.attempts = attempts;
        state.history.append(inner.history(), before);
    }

    /// A limit has rejected the attempt that was under way: it was none.
    pub fn reject(&self) {
        let mut state = self.lock();
        state.under_way = false;
        state.attempts = state.attempts.saturating_sub(1);
    }

    /// The caller has said whether the request may be sent twice, whatever its method and its key say.
    pub fn say_idempotent(&self, is_idempotent: bool) {
        self.lock().idempotent = Some(is_idempotent);
    }

    /// What the caller has said of sending the request twice, if a retry was told.
    #[must_use]
    pub fn idempotent(&self) -> Option<bool> {
        self.lock().idempotent
    }

    /// Whether a retry has taken it. If none has, the call may be on its way all the same.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.lock().followed
    }

    /// How many attempts were made, the current one included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.lock().attempts
    }

    /// Those that failed.
    #[must_use]
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// Whether an attempt may have reached the server: one that is under way, or was answered, or failed after it was sent;
    /// or one that no retry has written down.
    #[must_use]
    pub fn is_maybe_sent(&self) -> bool {
        let state = self.lock();
        !state.followed || state.under_way || state.history.is_maybe_sent()
    }

    /// Whether the server may have acted on an attempt: one that [may have been sent](Self::is_maybe_sent), unless the server
    /// said that it refused.
    #[must_use]
    pub fn is_maybe_processed(&self) -> bool {
        let state = self.lock();
        !state.followed || state.under_way || state.history.is_maybe_processed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{Effect, Fault, Verdict};

    #[test]
    fn an_attempt_that_is_under_way_may_have_been_sent() {
        let trail = Trail::new();
        assert!(!trail.is_followed() && trail.is_maybe_sent());
        trail.begin(1);
        trail.reject();
        assert_eq!((trail.attempts(), trail.is_maybe_sent()), (0, false));
        trail.begin(1);
        assert!(trail.is_maybe_sent());
        let verdict = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
        trail.fail(Attempt::new(1, Instant::now(), verdict, None));
        assert!(!trail.is_maybe_sent());
        trail.begin(2);
        trail.reject();
        assert_eq!((trail.attempts(), trail.is_maybe_sent()), (1, false));
        trail.begin(2);
        assert_eq!((trail.attempts(), trail.is_maybe_sent()), (2, true));
        assert_eq!(trail.history().attempts().len(), 1);
        assert!(trail.is_maybe_processed());
        let refused = Verdict::transient(Effect::Refused, Fault::Throttled);
        trail.fail(Attempt::new(2, Instant::now(), refused, None));
        assert!(trail.is_maybe_sent() && !trail.is_maybe_processed());
    }
}
