use std::num::NonZeroU32;

use courteous_core::RejectReason;
use tokio::time::Instant;

use crate::{ChargeId, LimitId, Target};

/// What a call asks a [`TokenStore`](crate::TokenStore) for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    costs: [u32; LimitId::MOST],
    latest: Option<(Instant, RejectReason)>,
    max_waiting: usize,
    retried: bool,
    target: Option<Target>,
    charge: Option<ChargeId>,
}

impl Ask {
    /// Asks for `cost` tokens of the store's first limit, and one of each other, however long that takes, and
    /// however many calls wait before.
    #[must_use]
    pub const fn new(cost: NonZeroU32) -> Self {
        let mut costs = [1; LimitId::MOST];
        costs[0] = cost.get();
        Self {
            costs,
            latest: None,
            max_waiting: usize::MAX,
            retried: false,
            target: None,
            charge: None,
        }
    }

    /// Asks for `cost` tokens of the limit with number `limit`. Zero asks for none. A store has no limit beyond
    /// [`LimitId::MOST`].
    #[must_use]
    pub fn with_cost(mut self, limit: usize, cost: u32) -> Self {
        if let Some(known) = self.costs.get_mut(limit) {
            *known = cost;
        }
        self
    }

    /// Has the call remembered, once it is sent, until its true cost is told or the [`Settler`](crate::Settler) is told to close it.
    #[must_use]
    pub const fn with_charge(mut self, charge: ChargeId) -> Self {
        self.charge = Some(charge);
        self
    }

    /// Has the call forgotten once it is sent.
    #[must_use]
    pub const fn without_charge(mut self) -> Self {
        self.charge = None;
        self
    }

    /// Waits until `latest` at the longest; a longer wait is rejected for `reason`. The earliest such instant counts.
    #[must_use]
    #[inline]
    pub fn with_latest(mut self, latest: Instant, reason: RejectReason) -> Self {
        if self.latest.is_none_or(|(earlier, _)| latest < earlier) {
            self.latest = Some((latest, reason));
        }
        self
    }

    /// Is rejected if it would have to wait behind `max_waiting` others.
    #[must_use]
    pub const fn with_max_waiting(mut self, max_waiting: usize) -> Self {
        self.max_waiting = max_waiting;
        self
    }

    /// States whether a retry is outside, which will do the waiting for a closed bucket.
    #[must_use]
    pub const fn with_retried(mut self, retried: bool) -> Self {
        self.retried = retried;
        self
    }

    /// States what the request is for, so that the store knows which of a server's quotas it counts against.
    #[must_use]
    #[inline]
    pub const fn with_target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// How many tokens of the first limit.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.costs[0]
    }

    /// How many tokens of each limit, by its number. A store ignores those of limits that it does not have.
    #[must_use]
    pub const fn costs(&self) -> [u32; LimitId::MOST] {
        self.costs
    }

    /// Under what the call is to be remembered, if its true cost may be told.
    #[must_use]
    pub const fn charge(&self) -> Option<ChargeId> {
        self.charge
    }

    /// The instant up to which the call may wait, if there is one, and why a longer wait is rejected.
    #[must_use]
    pub const fn latest(&self) -> Option<(Instant, RejectReason)> {
        self.latest
    }

    /// How many may be in the queue before the call. With zero it must be rejected if it would have to wait.
    #[must_use]
    pub const fn max_waiting(&self) -> usize {
        self.max_waiting
    }

    /// Whether a retry is outside, which will do the waiting for a closed bucket.
    #[must_use]
    pub const fn is_retried(&self) -> bool {
        self.retried
    }

    /// What the request is for, if that was stated.
    #[must_use]
    pub const fn target(&self) -> Option<Target> {
        self.target
    }

    /// Why the call cannot wait behind `waiting` others until `at`; `none` is the reason if it must
    /// not wait at all. `None` if it can wait.
    #[must_use]
    pub fn rejection(
        &self,
        waiting: usize,
        at: Instant,
        none: RejectReason,
    ) -> Option<RejectReason> {
        match self.max_waiting {
            0 => Some(none),
            max if waiting >= max => Some(RejectReason::QueueFull),
            _ => self
                .latest
                .filter(|&(latest, _)| at > latest)
                .map(|(_, reason)| reason),
        }
    }
}
