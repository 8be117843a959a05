use std::task::{Context, Poll};

use courteous_core::{BoxError, CallContext, Scope, Upload};
use courteous_replay::{Keep, SendOnce};
use http::{Extensions, Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::header::Stated;
use crate::{
    AttemptTimeoutLayer, Coverage, DeadlineBody, IdleTimeout, PerAttemptTimeout, ResponseFuture,
    limit::Limit,
    silence::{Silence, with_transfer},
};

/// Ends an attempt whose server is silent for too long: the service that [`AttemptTimeoutLayer`]
/// makes.
///
/// An attempt has the layer's timeout or what is left of the call's deadline, whichever is less.
/// The deadline is read in the request's [`CallContext`], and never written: it is the call's.
/// Among the request's extensions, [`PerAttemptTimeout`] and [`IdleTimeout`] replace the layer's
/// timeouts, and [`Coverage`] or [`LongLived`](courteous_core::LongLived) can shorten how far they
/// reach.
///
/// The timeout starts again while the request's body goes out: see [`AttemptTimeoutLayer`]. The call's
/// deadline does not.
///
/// A server that was told the deadline of the attempt may notice first, and answer that it has
/// passed: by gRPC's DEADLINE_EXCEEDED in the head, 504 or 408. If the call has more time than the
/// server was told, this answer stands for the attempt timeout: an
/// [`Elapsed`](courteous_core::Elapsed) among its extensions says so, and a retry outside reads it.
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
/// or the other. A body that is silent for too long fails with [`Scope::Idle`]. Errors of the inner
/// service come through as they are, and a response or an error that is here at the deadline wins.
#[derive(Clone, Debug)]
pub struct AttemptTimeout<S, K = SendOnce> {
    inner: S,
    settings: AttemptTimeoutLayer<K>,
}

impl<S, K> AttemptTimeout<S, K> {
    pub(super) const fn new(inner: S, settings: AttemptTimeoutLayer<K>) -> Self {
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

impl<S, K, B, RB> Service<Request<B>> for AttemptTimeout<S, K>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
    K: Keep<B>,
    B: Body,
{
    type Response = Response<DeadlineBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let settings = &self.settings;
        let extensions = request.extensions();
        let context = extensions.get::<CallContext>().copied();
        // Mostly there is nothing else: then nothing else is looked up.
        let overrides = match extensions.len() > usize::from(context.is_some()) {
            true => extensions,
            false => &Extensions::new(),
        };
        let timeout = match overrides.get() {
            Some(&PerAttemptTimeout(timeout)) => timeout,
            None => settings.timeout(),
        };
        let idle_timeout = match overrides.get() {
            Some(&IdleTimeout(timeout)) => Some(timeout),
            None => settings.idle_timeout(),
        };
        let asked = Coverage::asked_by(overrides);
        let upload = overrides.get::<Upload>().cloned();

        let upload = upload.or_else(|| settings.keep().watch_in_place(request.body_mut()));
        let (now, context) = (Instant::now(), context.unwrap_or_default());
        let first = match (&upload, request.body().size_hint().exact()) {
            (None, Some(size)) => with_transfer(timeout, size, settings.least_upload_rate()),
            _ => timeout,
        };
        let limit = Limit::earliest(now, first, Scope::Attempt, context);
        let mut told = false;
        if let Some(limit) = limit {
            let left = limit.deadline().saturating_duration_since(now);
            let stated = match settings.header() {
                Some(header) if asked != Some(Coverage::Headers) => {
                    header.state(left, request.headers_mut())
                }
                _ if left.is_zero() => None,
                _ => Some(Stated::ByCaller),
            };
            let Some(stated) = stated else {
                return ResponseFuture::refused(limit);
            };
            told = stated == Stated::ByUs && limit.elapsed().scope() == Scope::Attempt;
        }
        let has_silence = upload.is_some() || idle_timeout.is_some();
        let silence = has_silence.then(|| {
            Box::new(Silence {
                upload,
                timeout,
                least_rate: settings.least_upload_rate(),
                context,
                idle_timeout,
                idle_ends: None,
            })
        });
        let coverage = match asked {
            Some(Coverage::Headers) => Coverage::Headers,
            _ => settings.coverage(),
        };
        ResponseFuture::new(self.inner.call(request), limit, coverage)
            .with_silence(silence)
            .telling(told)
    }
}

#[cfg(feature = "load")]
impl<S: tower::load::Load, K> tower::load::Load for AttemptTimeout<S, K> {
    type Metric = S::Metric;

    fn load(&self) -> Self::Metric {
        self.inner.load()
    }
}
