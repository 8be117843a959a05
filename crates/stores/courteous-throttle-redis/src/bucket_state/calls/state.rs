use std::time::Duration;

use courteous_limit::later;
use tokio::time::Instant;

/// If a worker was asked to call Redis and has not begun after this time, it is gone, or its
/// runtime is not driven.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(1);

/// The state machine of a bucket's calls to Redis. The page of the module above has the diagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    phase: Phase,
    contact: Contact,
    /// Whether the last answer came too late to be of use.
    late: bool,
    /// The longest time that a call can take, with its timeouts.
    longest: Duration,
}

/// Where the bucket's call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No call is due.
    Idle,
    /// The worker has been asked to call.
    Asked { since: Instant },
    /// The call is on its way.
    Calling { since: Instant },
    /// The last call failed. No call is made before the instant.
    BackingOff { until: Instant },
}

/// Whether Redis answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    /// No call has ended yet.
    Unknown,
    Connected,
    /// Redis has not answered in time since that instant.
    Alone {
        since: Instant,
    },
}

impl State {
    pub(super) const fn new(longest: Duration) -> Self {
        Self {
            phase: Phase::Idle,
            contact: Contact::Unknown,
            late: false,
            longest,
        }
    }

    /// Lets the time pass: a call that has stalled leaves the bucket idle.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.stalled_at().is_some_and(|at| at <= now) {
            self.phase = Phase::Idle;
        }
    }

    /// Asks for a call.
    pub(super) const fn ask(&mut self, now: Instant) {
        self.phase = Phase::Asked { since: now };
    }

    /// Notes that a worker has picked up the call that was asked for. Returns `false` if another
    /// call is on its way.
    pub(super) const fn pick_up(&mut self) -> bool {
        if self.is_asked() {
            self.phase = Phase::Idle;
        }
        !matches!(self.phase, Phase::Calling { .. })
    }

    /// Notes that the worker calls.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.phase = Phase::Calling { since: now };
    }

    /// Notes that Redis answered. If the answer belongs to a stalled call, another call may have
    /// been asked for, and that call stays asked for.
    pub(super) const fn answered(&mut self) {
        if !self.is_asked() {
            self.phase = Phase::Idle;
        }
    }

    /// Notes that the answer is of use, or that it was not used because Redis' clock was set.
    /// Returns whether Redis is newly connected.
    pub(super) const fn connected(&mut self) -> bool {
        let newly = !self.is_connected();
        self.contact = Contact::Connected;
        newly
    }

    /// Notes whether the answer came too late. Returns whether the one before it did, too: then the
    /// way to Redis takes longer than a lease.
    pub(super) const fn was_late_again(&mut self, late: bool) -> bool {
        let again = self.late && late;
        self.late = late;
        again
    }

    /// Backs off until `until`. Returns whether the bucket newly stands alone.
    pub(super) const fn back_off(&mut self, now: Instant, until: Instant) -> bool {
        self.phase = Phase::BackingOff { until };
        let newly = !self.is_alone();
        if newly {
            self.contact = Contact::Alone { since: now };
        }
        newly
    }

    /// When the call counts as stalled.
    pub(super) fn stalled_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Asked { since } => Some(since + STALLED_AFTER),
            Phase::Calling { since } => Some(later(since, self.longest)),
            Phase::Idle | Phase::BackingOff { .. } => None,
        }
    }

    /// The instant before which no call is made.
    pub(super) const fn not_before(&self) -> Option<Instant> {
        match self.phase {
            Phase::BackingOff { until } => Some(until),
            Phase::Idle | Phase::Asked { .. } | Phase::Calling { .. } => None,
        }
    }

    /// Whether a call has been on its way for `time`.
    pub(super) fn has_called_for(&self, time: Duration, now: Instant) -> bool {
        match self.phase {
            Phase::Calling { since } => now.saturating_duration_since(since) >= time,
            Phase::Idle | Phase::Asked { .. } | Phase::BackingOff { .. } => false,
        }
    }

    pub(super) const fn is_asked(&self) -> bool {
        matches!(self.phase, Phase::Asked { .. })
    }

    /// Whether a call is asked for, or on its way.
    pub(super) const fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Asked { .. } | Phase::Calling { .. })
    }

    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.contact, Contact::Connected)
    }

    pub(super) const fn is_alone(&self) -> bool {
        matches!(self.contact, Contact::Alone { .. })
    }

    pub(super) const fn alone_since(&self) -> Option<Instant> {
        match self.contact {
            Contact::Alone { since } => Some(since),
            Contact::Unknown | Contact::Connected => None,
        }
    }
}
