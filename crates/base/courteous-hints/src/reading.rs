use std::time::Duration;

use crate::{Quota, QuotaScope};

/// What a response says about one limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading<'h> {
    pub(crate) remaining: Option<u64>,
    pub(crate) reset: Option<Duration>,
    pub(crate) limit: Option<u64>,
    pub(crate) window: Option<Duration>,
    /// What the response says that the limit is of.
    pub(crate) scope: QuotaScope<'h>,
    /// Whether it counts something else than requests: tokens, bytes, points.
    pub(crate) other_unit: bool,
    /// Whether a `RateLimit` field says it, whose units are certain.
    pub(crate) certain: bool,
}

impl<'h> Reading<'h> {
    /// The limit as one on requests. One on something else says nothing about them while there is
    /// some left.
    pub(crate) fn quota(self) -> Option<Quota<'h>> {
        match (self.other_unit, self.remaining?) {
            (false, remaining) => Some(Quota {
                remaining,
                reset: self.reset,
                limit: self.limit,
                window: self.window,
                scope: self.scope,
            }),
            (true, 0) => Some(Quota {
                remaining: 0,
                reset: self.reset,
                limit: None,
                window: None,
                scope: self.scope,
            }),
            (true, _) => None,
        }
    }

    /// How long until the limit lets a refused client through again, behind how much the reading
    /// counts among others: a limit that is known to be used up is the reason of the refusal, one
    /// with an unknown rest only may be.
    pub(crate) fn wait(self) -> Option<(bool, bool, Duration)> {
        let used_up = match self.remaining {
            None => false,
            Some(0) => true,
            Some(_) => return None,
        };
        Some((used_up, self.certain, self.reset?))
    }
}
