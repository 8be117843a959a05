use std::task::Waker;

use courteous_core::{LimitId, Receipt, RejectReason};
use tokio::time::Instant;

use crate::{Ask, meter::Costs};

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
    /// What it costs in the first limit; one in each other, if there is nothing else to know.
    cost: u32,
    priced: Option<Box<Priced>>,
    /// The number of its grant.
    pub(crate) grant: u64,
    pub(crate) retried: bool,
}

/// What there is to know of a waiter with an addressed cost.
#[derive(Clone, Copy, Debug)]
struct Priced {
    costs: Costs,
    receipt: Option<Receipt>,
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
    pub(crate) fn new(ask: &Ask, release: Option<Instant>) -> Self {
        let (at, reason) = ask.latest().unzip();
        let (costs, receipt) = (ask.costs(), ask.receipt());
        let plain = costs == simple(ask.cost()) && receipt.is_none();
        Self {
            waker: None,
            release,
            at,
            reason: reason.unwrap_or(RejectReason::MaxWait),
            state: State::Waiting,
            returned: false,
            cost: ask.cost(),
            priced: (!plain).then(|| Box::new(Priced { costs, receipt })),
            grant: 0,
            retried: ask.is_retried(),
        }
    }

    pub(crate) fn costs(&self) -> Costs {
        let priced = self.priced.as_ref();
        priced.map_or_else(|| simple(self.cost), |priced| priced.costs)
    }

    pub(crate) fn receipt(&self) -> Option<Receipt> {
        self.priced.as_ref()?.receipt
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

/// What a call costs that says only what it costs in the first limit.
const fn simple(cost: u32) -> Costs {
    let mut costs = [1; LimitId::MOST];
    costs[0] = cost;
    costs
}
