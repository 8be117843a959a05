use std::task::{Context, Poll};

use courteous_core::{BoxError, CallContext, Scope};
use http::{Request, Response};
use tokio::time::Instant;
use tower_service::Service;

use crate::{AttemptTimeoutLayer, DeadlineBody, PerAttemptTimeout, ResponseFuture, limit::Limit};

/// Ends an attempt that takes too long: the service that [`AttemptTimeoutLayer`] makes.
///
/// An attempt has the layer's timeout or what is left of the call's deadline, whichever is less.
/// The deadline is read in the request's [`CallContext`], and never written: it is the call's.
/// [`PerAttemptTimeout`] among the request's extensions replaces the layer's timeout.
///
/// # Readiness
/// The inner service's. Nothing is reserved, and the wait for it is not counted. An attempt that is
/// refused, as there is no time left, leaves the inner service ready for the next call.
///
/// # Cancel safety
/// Dropping the response future drops the inner one and the timer. Both are also gone once it has
/// resolved.
///
/// # Errors
/// [`Elapsed`](courteous_core::Elapsed), which does not tell whether the server has acted on the
/// request. Its scope is [`Scope::Attempt`] if another attempt can be made, and [`Scope::Total`] if
/// the call's deadline has struck, also if both strike at once; its limit is the timeout of the one
/// or the other. Errors of the inner service come through as they are, and a response or an error
/// that is here at the deadline wins.
#[derive(Clone, Debug)]
pub struct AttemptTimeout<S> {
    inner: S,
    settings: AttemptTimeoutLayer,
}

impl<S> AttemptTimeout<S> {
    pub(super) const fn new(inner: S, settings: AttemptTimeoutLayer) -> Self {
        Self { inner, settings }
    }

    /// The inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Unwraps the inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, RB> Service<Request<B>> for AttemptTimeout<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<DeadlineBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let extensions = request.extensions();
        let timeout = match extensions.get() {
            Some(&PerAttemptTimeout(timeout)) => timeout,
            None => self.settings.timeout(),
        };
        let (now, context) = (Instant::now(), CallContext::of(extensions));
        let limit = Limit::earliest(now, timeout, Scope::Attempt, context);
        if let Some(limit) = limit {
            let left = limit.deadline().saturating_duration_since(now);
            let can_be_sent = match self.settings.header() {
                Some(header) => header.state(left, request.headers_mut()),
                None => !left.is_zero(),
            };
            if !can_be_sent {
                return ResponseFuture::refused(limit);
            }
        }
        ResponseFuture::new(self.inner.call(request), limit, self.settings.coverage())
    }
}

#[cfg(feature = "load")]
impl<S: tower::load::Load> tower::load::Load for AttemptTimeout<S> {
    type Metric = S::Metric;

    fn load(&self) -> Self::Metric {
        self.inner.load()
    }
}
