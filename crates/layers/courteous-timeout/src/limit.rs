use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use courteous_core::{BoxError, CallContext, Elapsed, NoRuntime, Scope, timer};
use tokio::{
    task::coop,
    time::{Instant, Sleep},
};

use crate::events::{self, Subject};

/// Tokio rounds a timer up to its next millisecond with an addition that is not checked.
const TIMER_ROUNDING: Duration = Duration::from_millis(1);

/// An instant, and what is said when it strikes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    deadline: Instant,
    elapsed: Elapsed,
}

impl Limit {
    /// The earlier one of `timeout` from `now` on, which is about `scope`, and of the deadline in the
    /// call's `context`, which wins a tie: when it strikes, nothing more can be done.
    ///
    /// `None` if neither can ever strike.
    #[inline]
    pub(crate) fn earliest(
        now: Instant,
        timeout: Duration,
        scope: Scope,
        context: CallContext,
    ) -> Option<Self> {
        let own = now
            .checked_add(timeout)
            .and_then(|deadline| Self::at(deadline, Elapsed::new(timeout, scope)));
        let total = context.deadline().and_then(|deadline| {
            let left = || deadline.saturating_duration_since(now);
            let timeout = context.timeout().unwrap_or_else(left);
            Self::at(deadline, Elapsed::new(timeout, Scope::Total))
        });
        match (own, total) {
            (Some(own), Some(total)) if own.deadline < total.deadline => Some(own),
            (own, total) => total.or(own),
        }
    }

    /// The end, at `deadline`, of the time that a response's body may be silent: `timeout`. `None` if it can never strike.
    pub(crate) fn idle(deadline: Instant, timeout: Duration) -> Option<Self> {
        Self::at(deadline, Elapsed::new(timeout, Scope::Idle))
    }

    #[inline]
    fn at(deadline: Instant, elapsed: Elapsed) -> Option<Self> {
        deadline.checked_add(TIMER_ROUNDING)?;
        Some(Self { deadline, elapsed })
    }

    /// The timeout that ends here.
    pub(crate) const fn timeout(&self) -> Duration {
        self.elapsed.limit()
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) const fn elapsed(&self) -> Elapsed {
        self.elapsed
    }

    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.deadline <= Instant::now()
    }

    pub(crate) fn timer(&self) -> Result<Sleep, NoRuntime> {
        timer(self.deadline)
    }

    /// The error, and the event that says so of the request that `subject` is.
    pub(crate) fn strike(&self, subject: &Subject) -> BoxError {
        events::elapsed(&self.elapsed, subject, false);
        self.elapsed.into()
    }
}

/// Polls `timer` even if the task's budget is spent: else an inner service that always spends it
/// would never time out.
pub(crate) fn poll_timer(timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    pin!(coop::unconstrained(timer)).poll(cx)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn earliest(timeout: Duration, left: Option<Duration>) -> Option<(Duration, Scope)> {
        let now = Instant::now();
        let mut context = CallContext::default();
        if let Some(left) = left {
            context.tighten(now + left);
        }
        let limit = Limit::earliest(now, timeout, Scope::Attempt, context)?;
        Some((limit.elapsed.limit(), limit.elapsed.scope()))
    }

    #[test]
    fn the_earlier_one_strikes_and_says_whose_it_was() {
        assert_eq!(earliest(SECOND, None), Some((SECOND, Scope::Attempt)));
        assert_eq!(
            earliest(SECOND, Some(2 * SECOND)),
            Some((SECOND, Scope::Attempt))
        );
        assert_eq!(
            earliest(2 * SECOND, Some(SECOND)),
            Some((SECOND, Scope::Total))
        );
    }

    #[test]
    fn a_tie_is_the_end_of_the_call() {
        assert_eq!(earliest(SECOND, Some(SECOND)), Some((SECOND, Scope::Total)));
    }

    #[test]
    fn what_lies_beyond_the_end_of_time_never_strikes() {
        assert_eq!(earliest(Duration::MAX, None), None);
        assert_eq!(
            earliest(Duration::MAX, Some(SECOND)),
            Some((SECOND, Scope::Total))
        );
    }
}
