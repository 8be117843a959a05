use std::time::Duration;

use tower_layer::Layer;

use crate::{Coverage, TotalTimeout};

/// Ends a call that takes too long as a whole, whatever it is busy with.
///
/// The timeout begins with `call` and covers the inner services' readiness, their queues, all
/// attempts and the pauses between them, and the response's body to its last byte. See
/// [`TotalTimeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TotalTimeoutLayer {
    timeout: Duration,
    coverage: Coverage,
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
        }
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

impl<S> Layer<S> for TotalTimeoutLayer {
    type Service = TotalTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TotalTimeout::new(inner, *self)
    }
}
