use std::time::Duration;

use courteous_core::{CallContext, RejectReason};
use courteous_limit::Order;
use tokio::time::Instant;

/// How long a call counts as in flight.
///
/// A request with [`LongLived`](courteous_core::LongLived) among its extensions counts until
/// [`Headers`](Self::Headers), whatever the layer's setting is.
///
/// Exhaustive on purpose: a third end of a call would be a different limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum HoldUntil {
    /// Until the response body has ended, failed or was dropped; or until the call's deadline has
    /// passed and another call needs the permit. This is the default, as the server and the
    /// connection are busy until then.
    #[default]
    Body,
    /// Until the response head arrives. For calls whose bodies stay open for long, such as event
    /// streams, and for callers that collect responses before they read any.
    Headers,
}

/// How long a call may wait, and with how many other calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) max_wait: Option<Duration>,
    pub(crate) max_waiting: Option<usize>,
    pub(crate) hold: HoldUntil,
    /// Whether calls with a deadline wait in the order in which they came, too.
    pub(crate) oldest_first: bool,
    /// Whether the call is sent at once in any case.
    pub(crate) observed: bool,
}

/// The end of a call's wait, and the reason for which it is then rejected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) at: Instant,
    pub(crate) reason: RejectReason,
}

impl Settings {
    /// When a wait that begins now must end. The clock is read only if necessary.
    ///
    /// `Err` if that is now or in the past.
    pub(crate) fn bound(
        &self,
        context: Option<&CallContext>,
    ) -> Result<Option<Bound>, RejectReason> {
        let deadline = context.and_then(CallContext::deadline);
        if self.max_wait.is_none() && deadline.is_none() {
            return Ok(None);
        }
        bound(Instant::now(), self.max_wait, deadline)
    }

    /// When a call that holds a permit is over, whatever its outcome: at its deadline, if the
    /// deadline covers what the permit is held for.
    #[inline]
    pub(crate) fn end(&self, context: Option<&CallContext>) -> Option<Instant> {
        let context = context?;
        match self.hold {
            HoldUntil::Body => context.body_deadline(),
            HoldUntil::Headers => context.deadline(),
        }
    }

    /// Which of the waiters a call is served before. A call with a deadline gives up in the end.
    pub(crate) fn order(&self, context: Option<&CallContext>) -> Order {
        match context.and_then(CallContext::deadline) {
            Some(_) if !self.oldest_first => Order::NewestFirst,
            _ => Order::OldestFirst,
        }
    }

    /// The reason for which a call is rejected when the queue is full.
    pub(crate) const fn queue_full(&self) -> RejectReason {
        match self.max_waiting {
            Some(0) => RejectReason::AtCapacity,
            _ => RejectReason::QueueFull,
        }
    }
}

fn bound(
    now: Instant,
    max_wait: Option<Duration>,
    deadline: Option<Instant>,
) -> Result<Option<Bound>, RejectReason> {
    let deadline = deadline.map(|at| Bound {
        at,
        reason: RejectReason::Deadline,
    });
    // A wait whose end is not a representable instant has no end.
    let max_wait = max_wait
        .and_then(|wait| now.checked_add(wait))
        .map(|at| Bound {
            at,
            reason: RejectReason::MaxWait,
        });
    let earliest = match (deadline, max_wait) {
        (Some(deadline), Some(max_wait)) if max_wait.at < deadline.at => Some(max_wait),
        (Some(deadline), _) => Some(deadline),
        (None, max_wait) => max_wait,
    };
    match earliest {
        Some(bound) if bound.at <= now => Err(bound.reason),
        bound => Ok(bound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reason(bound: Option<Bound>) -> Option<RejectReason> {
        bound.map(|bound| bound.reason)
    }

    #[test]
    fn the_earlier_end_of_the_wait_wins_and_the_deadline_at_the_tie() {
        let now = Instant::now();
        let late = bound(now, Some(SECOND), Some(now + 2 * SECOND)).unwrap();
        assert_eq!(reason(late), Some(RejectReason::MaxWait));
        let tie = bound(now, Some(SECOND), Some(now + SECOND)).unwrap();
        assert_eq!(reason(tie), Some(RejectReason::Deadline));
        assert_eq!(tie.unwrap().at, now + SECOND);
    }

    #[test]
    fn a_wait_that_would_end_now_does_not_begin() {
        let now = Instant::now();
        let zero = bound(now, Some(Duration::ZERO), None);
        assert_eq!(zero.unwrap_err(), RejectReason::MaxWait);
        let past = bound(now + SECOND, Some(SECOND), Some(now));
        assert_eq!(past.unwrap_err(), RejectReason::Deadline);
    }

    #[test]
    fn the_longest_wait_has_no_end() {
        let endless = bound(Instant::now(), Some(Duration::MAX), None).unwrap();
        assert!(endless.is_none());
    }
}
