use courteous_core::RejectReason;
use courteous_limit::{Ask, ChargeId, KeptWaker, LimitId};
use tokio::time::Instant;

use crate::meter::Costs;

/// A waiting call.
///
/// There may be a million waiters. The fields are chosen to keep each of them small.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) waker: KeptWaker,
    /// The waiter is not let through before this instant, because the bucket was closed.
    pub(crate) release: Option<Instant>,
    /// Until when it waits at most. Once it is rejected, this is when it would have been let
    /// through.
    at: Option<Instant>,
    /// Why it waits no longer.
    reason: RejectReason,
    pub(crate) state: State,
    /// Whether it was granted its turn before, and came back.
    pub(crate) returned: bool,
    /// What it costs in the first limit. It costs one token in each other limit, unless `priced`
    /// says otherwise.
    cost: u32,
    priced: Option<Box<Priced>>,
    /// The number of its grant.
    pub(crate) grant: u64,
    pub(crate) retried: bool,
}

/// The costs and the charge of a waiter with an addressed cost.
#[derive(Clone, Copy, Debug)]
struct Priced {
    costs: Costs,
    charge: Option<ChargeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the queue.
    Waiting,
    /// Tokens are set aside for it.
    Granted,
    /// Tokens were set aside for it, and then taken back, because an older waiter came too late for
    /// its own tokens.
    Recalled,
    /// It gave its tokens back, and will come again.
    Away,
    Rejected,
}

impl Waiter {
    pub(crate) fn new(ask: &Ask, release: Option<Instant>) -> Self {
        let (at, reason) = ask.latest().unzip();
        let (costs, charge) = (ask.costs(), ask.charge());
        let plain = costs == simple(ask.cost()) && charge.is_none();
        Self {
            waker: KeptWaker::new(),
            release,
            at,
            reason: reason.unwrap_or(RejectReason::MaxWait),
            state: State::Waiting,
            returned: false,
            cost: ask.cost(),
            priced: (!plain).then(|| Box::new(Priced { costs, charge })),
            grant: 0,
            retried: ask.is_retried(),
        }
    }

    pub(crate) fn costs(&self) -> Costs {
        let priced = self.priced.as_ref();
        priced.map_or_else(|| simple(self.cost), |priced| priced.costs)
    }

    pub(crate) fn charge(&self) -> Option<ChargeId> {
        self.priced.as_ref()?.charge
    }

    /// Marks its grant as recalled, if all grants up to the number `recalled` were.
    pub(crate) const fn note(&mut self, recalled: u64) {
        if matches!(self.state, State::Granted) && self.grant <= recalled {
            self.state = State::Recalled;
        }
    }

    /// Until when it waits at most, and why it then waits no longer. Also `None` if it is rejected.
    pub(crate) fn latest(&self) -> Option<(Instant, RejectReason)> {
        let at = self.at.filter(|_| self.state != State::Rejected)?;
        Some((at, self.reason))
    }

    /// Rejects it. `at` is when it would have been let through. `Rejected` states the time until
    /// then, from the moment when the waiter is told.
    pub(crate) const fn reject(&mut self, reason: RejectReason, at: Instant) {
        self.state = State::Rejected;
        self.reason = reason;
        self.at = Some(at);
    }

    /// Why it is rejected, and when it would have been let through.
    pub(crate) fn rejection(&self) -> Option<(RejectReason, Instant)> {
        let at = self.at.filter(|_| self.state == State::Rejected)?;
        Some((self.reason, at))
    }
}

/// The costs of a call that only says what it costs in the first limit.
const fn simple(cost: u32) -> Costs {
    let mut costs = [1; LimitId::MOST];
    costs[0] = cost;
    costs
}
