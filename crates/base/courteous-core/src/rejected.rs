use std::{error::Error, fmt, time::Duration};

use tokio::time::Instant;

use crate::{Gate, Rate};

/// A layer of ours rejected the request: mostly a limit. It was not sent.
///
/// A rejection is made as soon as it is certain, not after the wait that it would have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    reason: RejectReason,
    not_before: Option<Instant>,
    wait: Option<Duration>,
    above: Option<AboveBurst>,
}

/// What cost too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AboveBurst {
    cost: u32,
    max_cost: u32,
    rate: Rate,
}

/// Why a layer rejected a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// Nothing is free, and the limit was told not to wait.
    AtCapacity,
    /// The queue holds as many waiters as it may.
    QueueFull,
    /// The wait would be, or was, longer than the limit's `max_wait`.
    MaxWait,
    /// The wait would end after the call's deadline.
    Deadline,
    /// The server asked for a pause that is not over.
    Paused,
    /// The server has more to do than it can, as an adaptive limit has learned from its answers. It was not asked.
    Overloaded,
    /// The request costs more than the limit can ever hold.
    CostAboveBurst,
    /// What several machines share could not be reached in time. Whether the limit allows the call is not known.
    Unavailable,
    /// The caller's idempotency key is none: see [`KeyField::Malformed`](crate::KeyField::Malformed).
    MalformedKey,
    /// An idempotency key was to be drawn for the request, and the operating system had no random bytes.
    NoKey,
    /// Another operation was sent under the request's idempotency key: see [`KeyClaim`](crate::KeyClaim).
    KeyReused,
    /// The client was closed by its owner, because the process ends: it takes no new calls. Another process may send the
    /// request.
    ShuttingDown,
}

impl RejectReason {
    /// Its name in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtCapacity => "at_capacity",
            Self::QueueFull => "queue_full",
            Self::MaxWait => "max_wait",
            Self::Deadline => "deadline",
            Self::Paused => "paused",
            Self::Overloaded => "overloaded",
            Self::CostAboveBurst => "cost_above_burst",
            Self::Unavailable => "unavailable",
            Self::MalformedKey => "malformed_key",
            Self::NoKey => "no_key",
            Self::KeyReused => "key_reused",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// Whether the same request would be rejected again at any time.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::CostAboveBurst | Self::MalformedKey | Self::KeyReused
        )
    }
}

impl Rejected {
    /// A rejection for `reason`, without a time at which another try would do better.
    #[must_use]
    pub const fn new(reason: RejectReason) -> Self {
        Self {
            reason,
            not_before: None,
            wait: None,
            above: None,
        }
    }

    /// States how long the request would have had to wait, counted from `now`.
    #[must_use]
    pub fn with_wait(mut self, now: Instant, wait: Duration) -> Self {
        self.not_before = now.checked_add(wait);
        self.wait = Some(wait);
        self
    }

    /// A rejection of a request that costs `cost` tokens of a limit with this `rate`, which never has more than `max_cost`.
    #[must_use]
    pub const fn above_burst(cost: u32, max_cost: u32, rate: Rate) -> Self {
        let mut rejected = Self::new(RejectReason::CostAboveBurst);
        rejected.above = Some(AboveBurst {
            cost,
            max_cost,
            rate,
        });
        rejected
    }

    /// Why the request was rejected.
    #[must_use]
    pub const fn reason(&self) -> RejectReason {
        self.reason
    }

    /// When the request would have been admitted, where the limit knows.
    #[must_use]
    pub const fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// How long the request would have had to wait from the rejection on, where the limit knows: what a server would
    /// state as `Retry-After`.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// What the request costs, if that is more than the limit can ever hold.
    #[must_use]
    pub fn cost(&self) -> Option<u32> {
        self.above.map(|above| above.cost)
    }

    /// What a request can cost at most, if this one cost more.
    #[must_use]
    pub fn max_cost(&self) -> Option<u32> {
        self.above.map(|above| above.max_cost)
    }

    /// The rate of the limit that can never hold what the request costs.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.above.map(|above| above.rate)
    }

    /// The gate at which the request was rejected, if a closed one was the reason.
    #[must_use]
    pub fn gate(&self) -> Option<Gate> {
        match self.reason {
            RejectReason::Paused => self.not_before.map(Gate::new),
            _ => None,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("request not sent: ")?;
        if let Some(AboveBurst {
            cost,
            max_cost,
            rate,
        }) = self.above
        {
            return write!(
                f,
                "it costs {cost} tokens, and the limit of {rate} holds at most {max_cost}: raise its burst"
            );
        }
        f.write_str(match self.reason {
            RejectReason::AtCapacity => "the limit is reached",
            RejectReason::QueueFull => "the limit's queue is full",
            RejectReason::MaxWait => "the wait is longer than the limit allows",
            RejectReason::Deadline => "the wait would outlast the deadline",
            RejectReason::Paused => "the server asked for a pause",
            RejectReason::Overloaded => "the server has more to do than it can",
            RejectReason::CostAboveBurst => "it costs more than the limit can hold",
            RejectReason::Unavailable => "the limit's shared store could not be reached",
            RejectReason::MalformedKey => "its idempotency key is malformed",
            RejectReason::NoKey => "no idempotency key could be drawn for it",
            RejectReason::KeyReused => "another operation was sent under its idempotency key",
            RejectReason::ShuttingDown => "its client is shutting down",
        })?;
        match self.wait {
            Some(wait) => write!(f, " (could be sent in {wait:?})"),
            None => Ok(()),
        }
    }
}

impl Error for Rejected {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_tells_when_to_come_back() {
        let now = Instant::now();
        let rejected = Rejected::new(RejectReason::Paused).with_wait(now, Duration::from_secs(2));
        assert_eq!(rejected.not_before(), Some(now + Duration::from_secs(2)));
        assert_eq!(
            rejected.gate(),
            Some(Gate::new(now + Duration::from_secs(2)))
        );
        assert_eq!(
            rejected.to_string(),
            "request not sent: the server asked for a pause (could be sent in 2s)"
        );
    }

    #[test]
    fn a_request_that_costs_too_much_is_told_the_maximum() {
        let rate: Rate = "90000/m".parse().unwrap();
        let rejected = Rejected::above_burst(12, 10, rate);
        assert_eq!(rejected.reason(), RejectReason::CostAboveBurst);
        assert_eq!((rejected.cost(), rejected.max_cost()), (Some(12), Some(10)));
        assert_eq!(rejected.rate(), Some(rate));
        assert_eq!(
            rejected.to_string(),
            "request not sent: it costs 12 tokens, and the limit of 90000/min holds at most 10: raise its burst"
        );
    }

    #[test]
    fn only_a_closed_limit_has_a_gate() {
        let now = Instant::now();
        let rejected = Rejected::new(RejectReason::MaxWait).with_wait(now, Duration::from_secs(2));
        assert_eq!(rejected.gate(), None);
    }

    #[test]
    fn a_wait_beyond_the_end_of_time_has_no_instant() {
        let rejected =
            Rejected::new(RejectReason::MaxWait).with_wait(Instant::now(), Duration::MAX);
        assert_eq!(
            (rejected.not_before(), rejected.wait()),
            (None, Some(Duration::MAX))
        );
    }
}
