use std::time::Duration;

use tokio::time::Instant;

use crate::local::later;

/// If a worker was asked to call Redis and has not begun after this time, it is gone, or its
/// runtime is not driven.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(1);

/// Where a bucket's call to Redis is. The page of the module above has the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No call is due.
    Idle,
    /// The worker has been asked to call.
    Asked { since: Instant },
    /// The call is on its way.
    Calling { since: Instant },
    /// The last call failed. No call is made before the instant.
    BackingOff { until: Instant },
}

impl Phase {
    /// Asks for a call.
    pub(crate) const fn ask(&mut self, now: Instant) {
        *self = Self::Asked { since: now };
    }

    /// Notes that a worker has picked up the call that was asked for. Returns `false` if another
    /// call is on its way.
    pub(crate) const fn pick_up(&mut self) -> bool {
        if let Self::Asked { .. } = self {
            *self = Self::Idle;
        }
        !matches!(self, Self::Calling { .. })
    }

    /// Notes that the worker calls.
    pub(crate) const fn begin(&mut self, now: Instant) {
        *self = Self::Calling { since: now };
    }

    /// Notes that Redis answered. If the answer belongs to a stalled call, another call may have
    /// been asked for, and that call stays asked for.
    pub(crate) const fn answered(&mut self) {
        if !self.is_asked() {
            *self = Self::Idle;
        }
    }

    /// Notes that Redis did not answer.
    pub(crate) const fn failed(&mut self, until: Instant) {
        *self = Self::BackingOff { until };
    }

    /// When the call counts as stalled, if calls take `longest` at most.
    pub(crate) fn stalled_at(&self, longest: Duration) -> Option<Instant> {
        match *self {
            Self::Asked { since } => Some(since + STALLED_AFTER),
            Self::Calling { since } => Some(later(since, longest)),
            Self::Idle | Self::BackingOff { .. } => None,
        }
    }

    /// Becomes idle again if the call has stalled.
    pub(crate) fn settle(&mut self, longest: Duration, now: Instant) {
        if self.stalled_at(longest).is_some_and(|at| at <= now) {
            *self = Self::Idle;
        }
    }

    /// The instant before which no call is made.
    pub(crate) const fn not_before(&self) -> Option<Instant> {
        match *self {
            Self::BackingOff { until } => Some(until),
            Self::Idle | Self::Asked { .. } | Self::Calling { .. } => None,
        }
    }

    /// Whether a call has been on its way for `time`.
    pub(crate) fn has_called_for(&self, time: Duration, now: Instant) -> bool {
        match *self {
            Self::Calling { since } => now.saturating_duration_since(since) >= time,
            Self::Idle | Self::Asked { .. } | Self::BackingOff { .. } => false,
        }
    }

    pub(crate) const fn is_asked(&self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    /// Whether a call is asked for, or on its way.
    pub(crate) const fn is_busy(&self) -> bool {
        matches!(self, Self::Asked { .. } | Self::Calling { .. })
    }
}
