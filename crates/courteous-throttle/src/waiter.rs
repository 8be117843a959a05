use std::task::Waker;

use courteous_core::RejectReason;
use tokio::time::Instant;

/// One who waits.
///
/// There may be a million: its fields are what they are so that it stays small.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) waker: Option<Waker>,
    /// It is not let through before this, after the bucket was closed.
    pub(crate) release: Option<Instant>,
    /// Until when it waits at the longest. Once it is refused: when it would have been let through.
    at: Option<Instant>,
    /// Why it waits no longer.
    reason: RejectReason,
    pub(crate) state: State,
    /// Whether it was granted its turn before, and came back.
    pub(crate) returned: bool,
    pub(crate) cost: u32,
    /// The number of its grant.
    pub(crate) grant: u64,
    pub(crate) retried: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the line.
    Waiting,
    /// Tokens are set aside for it.
    Granted,
    /// Tokens were set aside for it, and then taken back, as an older one came too late for its own.
    Recalled,
    /// It gave its tokens back, and will come again.
    Away,
    Refused,
}

impl Waiter {
    pub(crate) fn new(
        cost: u32,
        retried: bool,
        latest: Option<(Instant, RejectReason)>,
        release: Option<Instant>,
    ) -> Self {
        let (at, reason) = latest.unzip();
        Self {
            waker: None,
            release,
            at,
            reason: reason.unwrap_or(RejectReason::MaxWait),
            state: State::Waiting,
            returned: false,
            cost,
            grant: 0,
            retried,
        }
    }

    /// Keeps `waker`, as the task has to wait, and leaves the one in its place that it replaces.
    ///
    /// The caller clones and drops wakers without the lock: both may run any code, such as another call of this bucket.
    pub(crate) fn keep(&mut self, waker: &mut Option<Waker>) {
        let known = match (&self.waker, &*waker) {
            (Some(kept), Some(waker)) => kept.will_wake(waker),
            _ => false,
        };
        if !known {
            std::mem::swap(&mut self.waker, waker);
        }
    }

    /// Notes whether its grant was recalled, if all up to this one were.
    pub(crate) const fn note(&mut self, recalled: u64) {
        if matches!(self.state, State::Granted) && self.grant <= recalled {
            self.state = State::Recalled;
        }
    }

    /// Until when it waits at the longest, and why no longer; `None` also if it is refused.
    pub(crate) fn latest(&self) -> Option<(Instant, RejectReason)> {
        let at = self.at.filter(|_| self.state != State::Refused)?;
        Some((at, self.reason))
    }

    /// Refuses it: `at` is when it would have been let through, for `Rejected` to state the time from when it is told.
    pub(crate) const fn refuse(&mut self, reason: RejectReason, at: Instant) {
        self.state = State::Refused;
        self.reason = reason;
        self.at = Some(at);
    }

    /// Why it is refused, and when it would have been let through.
    pub(crate) fn refusal(&self) -> Option<(RejectReason, Instant)> {
        let at = self.at.filter(|_| self.state == State::Refused)?;
        Some((self.reason, at))
    }
}
