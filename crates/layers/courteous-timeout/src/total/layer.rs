use std::time::Duration;

use courteous_core::ObserveOnly;

use crate::Coverage;

/// Ends a call that takes too long as a whole, whatever it is busy with.
///
/// The timeout begins with `call` and covers the inner services' readiness, their queues, all
/// attempts and the pauses between them, and the response's body to its last byte. See
/// [`TotalTimeout`](crate::TotalTimeout).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotalTimeoutLayer {
    timeout: Duration,
    coverage: Coverage,
    observe: Option<ObserveOnly>,
}

impl TotalTimeoutLayer {
    /// A total timeout of `timeout` for each call.
    ///
    /// Zero means that every call fails at once, and nothing is sent; [`Duration::MAX`], and
    /// whatever reaches beyond the clock's last instant, that there is no timeout but those of
    /// other layers and of the requests themselves.
    #[must_use]
    pub const fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            coverage: Coverage::Body,
            observe: None,
        }
    }

    /// The same with another timeout.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How far the timeout reaches. To the end of the response's body by default, as that is what a
    /// caller waits for.
    ///
    /// The layers inside are told one deadline, without its coverage: an attempt timeout that
    /// covers bodies holds them to it also if this layer covers the headers only.
    #[must_use]
    pub const fn with_coverage(mut self, coverage: Coverage) -> Self {
        self.coverage = coverage;
        self
    }

    /// Only observes: no call is ended, while the switch is on. `true` is a switch of the layer's own; `false` enforces, also in a
    /// stack that only observes. The default is to enforce.
    ///
    /// A call that would have been ended is counted as [`Decision::TotalTimeout`](courteous_core::Decision::TotalTimeout) and told
    /// by an event, at the instant at which that would have been, and once. The layers inside are told no deadline: a retry or a
    /// limit that is enforced waits longer than it would with one.
    #[must_use]
    pub fn observe_only(mut self, switch: impl Into<ObserveOnly>) -> Self {
        self.observe = Some(switch.into());
        self
    }

    /// The switch that says whether the layer only observes. `None`: it enforces.
    #[must_use]
    pub const fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.observe.as_ref()
    }

    /// The timeout of a call that brings none of its own.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How far the timeout reaches.
    #[must_use]
    pub const fn coverage(&self) -> Coverage {
        self.coverage
    }
}

/// As [`TotalTimeoutLayer::new`].
impl From<Duration> for TotalTimeoutLayer {
    fn from(timeout: Duration) -> Self {
        Self::new(timeout)
    }
}
