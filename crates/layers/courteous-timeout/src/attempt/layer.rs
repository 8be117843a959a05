use std::{num::NonZeroU64, time::Duration};

use courteous_body::{Native, ReplayBody, SendOnce, Via};
use courteous_core::ObserveOnly;
use http::HeaderName;

use super::header::DeadlineHeader;
use crate::{Coverage, DeadlineFormat};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// 64 KiB per second.
const LEAST_UPLOAD_RATE: NonZeroU64 = NonZeroU64::MIN.saturating_add(64 * 1024 - 1);

/// Ends an attempt whose server is silent for too long, so that another one can be made.
///
/// Innermost of all layers, it counts what the server takes, and no wait in a queue of ours. See
/// [`AttemptTimeout`](crate::AttemptTimeout).
///
/// # Our own upload
///
/// The time that we take to send a body is not the server's silence:
///
/// - A body that streams: the time starts again whenever the client takes a frame of the body. A
///   retry outside of this layer sees to that; alone, [`watching_uploads`](Self::watching_uploads)
///   does. An upload that stalls is ended like a server that is silent.
/// - A body in memory, or another body of an exact size that is not watched: the client takes it at
///   once, and from then on its progress is unknown. If it is above 64 KiB, its size divided by
///   [64 KiB per second](Self::with_least_upload_rate) is added to the timeout. So it is for a
///   single frame above 64 KiB.
#[derive(Clone, Debug)]
pub struct AttemptTimeoutLayer<K = SendOnce> {
    timeout: Duration,
    coverage: Coverage,
    header: Option<DeadlineHeader>,
    idle_timeout: Option<Duration>,
    least_upload_rate: Option<NonZeroU64>,
    keep: K,
    observe: Option<ObserveOnly>,
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
            idle_timeout: None,
            least_upload_rate: Some(LEAST_UPLOAD_RATE),
            keep: SendOnce::new(),
            observe: None,
        }
    }
}

impl<K> AttemptTimeoutLayer<K> {
    /// The same with another timeout.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How far the timeout reaches. To the response's headers by default, as another attempt can be
    /// made only until then.
    #[must_use]
    pub const fn with_coverage(mut self, coverage: Coverage) -> Self {
        self.coverage = coverage;
        self
    }

    /// Ends a response's body that is silent for `timeout`. Off by default.
    ///
    /// The time is that of one wait for a frame. It starts when the caller begins to wait, and again
    /// whenever the client takes a frame of the request's body. So neither a caller that is slow to
    /// read nor an upload that goes on counts as the server's silence. A body of any length passes
    /// as long as its frames come; [`IdleTimeout`](crate::IdleTimeout) among a request's extensions
    /// replaces the setting.
    ///
    /// Zero means that a body fails at its first wait; [`Duration::MAX`] switches the limit off.
    #[must_use]
    pub const fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// How fast a body that is not watched is expected to go out at least, in bytes per second.
    /// 65,536 by default.
    ///
    /// A body above 64 KiB adds its size divided by this rate to the timeout of its attempt.
    #[must_use]
    pub const fn with_least_upload_rate(mut self, bytes_per_second: NonZeroU64) -> Self {
        self.least_upload_rate = Some(bytes_per_second);
        self
    }

    /// Gives a large body no more time than a small one.
    #[must_use]
    pub const fn without_least_upload_rate(mut self) -> Self {
        self.least_upload_rate = None;
        self
    }

    /// Watches the bodies that stream, which a retry outside of this layer does anyway.
    ///
    /// The body's type has to be [`Replay`](courteous_body::Replay), as one of another type cannot
    /// be wrapped and stay what it is. Nothing of it is kept.
    #[must_use]
    pub fn watching_uploads(self) -> AttemptTimeoutLayer<Native> {
        self.with_keep(Native::new())
    }

    /// Watches bodies of a type that this crate does not know, by a function that makes one of a
    /// [`ReplayBody`].
    #[must_use]
    pub fn watching_uploads_via<F, B>(self, wrap: F) -> AttemptTimeoutLayer<Via<F>>
    where
        F: Fn(ReplayBody<B>) -> B + Clone,
    {
        self.with_keep(Via::new(wrap))
    }

    fn with_keep<L>(self, keep: L) -> AttemptTimeoutLayer<L> {
        AttemptTimeoutLayer {
            timeout: self.timeout,
            coverage: self.coverage,
            header: self.header,
            idle_timeout: self.idle_timeout,
            least_upload_rate: self.least_upload_rate,
            keep,
            observe: self.observe,
        }
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
    ///
    /// A server counts this time to the end of its response. So a request that says that its
    /// response goes on for long, by [`LongLived`](courteous_core::LongLived) or
    /// [`Coverage::Headers`] among its extensions, is sent without.
    ///
    /// The time is what the attempt has at its start. A server that heeds it may give up on an upload
    /// that takes longer, though this layer would wait: mark such a request `LongLived` as well.
    #[must_use]
    pub fn with_deadline_header(mut self, name: HeaderName, format: DeadlineFormat) -> Self {
        self.header = Some(DeadlineHeader::new(name, format));
        self
    }

    /// What tells the server how much time is left if neither [`with_deadline_header`](Self::with_deadline_header) nor
    /// [`with_grpc_timeout`](Self::with_grpc_timeout) was called: for presets.
    #[must_use]
    pub fn with_default_deadline_header(self, name: HeaderName, format: DeadlineFormat) -> Self {
        match self.header {
            Some(_) => self,
            None => self.with_deadline_header(name, format),
        }
    }

    /// Only observes: no attempt and no response's body is ended, while the switch is on. `true` is a switch of the layer's own;
    /// `false` enforces, also in a stack that only observes. The default is to enforce.
    ///
    /// What would have been ended is counted as [`Decision::AttemptTimeout`](courteous_core::Decision::AttemptTimeout) and told by
    /// an event, at the instant at which that would have been. An attempt is told once: of what comes after that, a body too, nothing is.
    /// No header field states a deadline. Bodies that are [watched](Self::watching_uploads) are watched as ever.
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

    /// How long a response's body may be silent, if its request does not say. `None` if there is no limit.
    #[must_use]
    pub const fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    pub(super) const fn header(&self) -> Option<&DeadlineHeader> {
        self.header.as_ref()
    }

    pub(super) const fn least_upload_rate(&self) -> Option<NonZeroU64> {
        self.least_upload_rate
    }

    pub(super) const fn keep(&self) -> &K {
        &self.keep
    }
}

/// As [`AttemptTimeoutLayer::new`].
impl From<Duration> for AttemptTimeoutLayer {
    fn from(timeout: Duration) -> Self {
        Self::new(timeout)
    }
}
