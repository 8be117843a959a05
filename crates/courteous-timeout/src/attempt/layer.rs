use std::time::Duration;

use http::HeaderName;
use tower_layer::Layer;

use super::header::DeadlineHeader;
use crate::{AttemptTimeout, Coverage, DeadlineFormat};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Ends an attempt that takes too long, so that another one can be made.
///
/// Innermost of all layers, it counts what the server takes, and no wait in a queue of ours. See
/// [`AttemptTimeout`].
#[derive(Clone, Debug)]
pub struct AttemptTimeoutLayer {
    timeout: Duration,
    coverage: Coverage,
    header: Option<DeadlineHeader>,
}

impl AttemptTimeoutLayer {
    /// A timeout of `timeout` for each attempt.
    ///
    /// Zero means that every attempt fails at once, and nothing is sent; [`Duration::MAX`], and
    /// whatever reaches beyond the clock's last instant, that only the call's own deadline ends an
    /// attempt.
    #[must_use]
    pub const fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            coverage: Coverage::Headers,
            header: None,
        }
    }

    /// How far the timeout reaches. To the response's headers by default, as another attempt can be
    /// made only until then.
    #[must_use]
    pub const fn with_coverage(mut self, coverage: Coverage) -> Self {
        self.coverage = coverage;
        self
    }

    /// Tells a gRPC server how much time is left, in `grpc-timeout`.
    ///
    /// The same as [`with_deadline_header`](Self::with_deadline_header) with that name and
    /// [`DeadlineFormat::Grpc`].
    #[must_use]
    pub fn with_grpc_timeout(self) -> Self {
        self.with_deadline_header(GRPC_TIMEOUT, DeadlineFormat::Grpc)
    }

    /// Tells the server how much time is left for this attempt, in a header field called `name`.
    ///
    /// It is written afresh for each attempt, rounded down, so that the server never has more time
    /// than we have. A time that the request states already is only ever shortened; what cannot be
    /// read as one is replaced. An attempt with no time left, or with less than the format can
    /// state, is not sent. None is written by default; the last of these calls counts.
    #[must_use]
    pub fn with_deadline_header(mut self, name: HeaderName, format: DeadlineFormat) -> Self {
        self.header = Some(DeadlineHeader::new(name, format));
        self
    }

    /// The timeout of an attempt whose request brings none of its own.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How far the timeout reaches.
    #[must_use]
    pub const fn coverage(&self) -> Coverage {
        self.coverage
    }

    pub(super) const fn header(&self) -> Option<&DeadlineHeader> {
        self.header.as_ref()
    }
}

/// As [`AttemptTimeoutLayer::new`].
impl From<Duration> for AttemptTimeoutLayer {
    fn from(timeout: Duration) -> Self {
        Self::new(timeout)
    }
}

impl<S> Layer<S> for AttemptTimeoutLayer {
    type Service = AttemptTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptTimeout::new(inner, self.clone())
    }
}
