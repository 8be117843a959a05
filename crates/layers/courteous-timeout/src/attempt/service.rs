use std::{
    num::NonZeroU64,
    task::{Context, Poll},
    time::Duration,
};

use courteous_body::{Keep, SendOnce};
use courteous_core::{BoxError, CallContext, LayerKind, Scope, Upload};
use http::{Extensions, Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::header::Stated;
use crate::{
    AttemptTimeoutLayer, Coverage, DeadlineBody, IdleTimeout, PerAttemptTimeout, ResponseFuture,
    events::Subject,
    limit::Limit,
    overrides::others,
    silence::{Silence, with_transfer},
    told::Told,
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
/// rejected, as there is no time left, leaves the inner service ready for the next call.
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

    /// The layer that the service has its settings from.
    #[must_use]
    pub const fn layer(&self) -> &AttemptTimeoutLayer<K> {
        &self.settings
    }

    /// Unwraps the inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, K: Clone> Layer<S> for AttemptTimeoutLayer<K> {
    type Service = AttemptTimeout<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        LayerKind::AttemptTimeout.check_order::<S>();
        AttemptTimeout::new(inner, self.clone())
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
        let subject = Subject::of(&request);
        let extensions = request.extensions();
        let context = extensions.get::<CallContext>();
        let (may_override, record) = others(extensions, context);
        let told = Told::of(
            settings.observe_only_switch(),
            Told::AttemptObserver,
            record,
        );
        let asked = match may_override {
            true => Asked::by(extensions),
            false => Asked::NOTHING,
        };
        let context = context.copied().unwrap_or_default();
        let timeout = asked.timeout.unwrap_or(settings.timeout());
        let idle_timeout = asked.idle_timeout.or(settings.idle_timeout());

        let upload = asked
            .upload
            .or_else(|| settings.keep().watch_in_place(request.body_mut()));
        let now = Instant::now();
        let first = match (&upload, settings.least_upload_rate()) {
            (None, Some(rate)) => with_body(timeout, request.body(), rate),
            _ => timeout,
        };
        let limit = Limit::earliest(now, first, Scope::Attempt, context);
        let mut is_stated = false;
        let is_observed = told.is_observer();
        let (limit, told) = told.begin(limit, now, &subject);
        let was_over = is_observed && !told.is_observer();
        if let Some(limit) = limit.filter(|_| !told.is_observer()) {
            let header = settings
                .header()
                .filter(|_| asked.coverage != Some(Coverage::Headers));
            let is_over = match header {
                Some(header) => {
                    let left = limit.deadline().saturating_duration_since(now);
                    let stated = header.state(left, request.headers_mut());
                    is_stated =
                        stated == Some(Stated::ByUs) && limit.elapsed().scope() == Scope::Attempt;
                    stated.is_none()
                }
                None => limit.deadline() <= now,
            };
            if is_over {
                return ResponseFuture::rejected(limit, told, subject);
            }
        }
        let has_silence = !was_over && (upload.is_some() || idle_timeout.is_some());
        let silence = has_silence.then(|| {
            Box::new(Silence {
                upload,
                timeout,
                least_rate: settings.least_upload_rate(),
                context: CallContext::of(request.extensions()),
                idle_timeout,
                idle_ends: None,
            })
        });
        let coverage = match asked.coverage {
            Some(Coverage::Headers) => Coverage::Headers,
            _ => settings.coverage(),
        };
        ResponseFuture::attempt(
            self.inner.call(request),
            limit,
            coverage,
            silence,
            is_stated,
            told,
            subject,
        )
    }
}

/// What a request's extensions ask for in place of the layer's settings.
struct Asked {
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    coverage: Option<Coverage>,
    upload: Option<Upload>,
}

impl Asked {
    const NOTHING: Self = Self {
        timeout: None,
        idle_timeout: None,
        coverage: None,
        upload: None,
    };

    #[inline(never)]
    fn by(extensions: &Extensions) -> Self {
        Self {
            timeout: extensions.get().map(|&PerAttemptTimeout(timeout)| timeout),
            idle_timeout: extensions.get().map(|&IdleTimeout(timeout)| timeout),
            coverage: Coverage::asked_by(extensions),
            upload: extensions.get().cloned(),
        }
    }
}

/// `timeout`, and the time that `body` takes at the least `rate`, if its size is known.
#[inline]
fn with_body<B: Body>(timeout: Duration, body: &B, rate: NonZeroU64) -> Duration {
    match body.size_hint().exact() {
        Some(size) if size > Upload::LARGE as u64 => with_transfer(timeout, size, Some(rate)),
        _ => timeout,
    }
}

#[cfg(feature = "load")]
impl<S: tower::load::Load, K> tower::load::Load for AttemptTimeout<S, K> {
    type Metric = S::Metric;

    fn load(&self) -> Self::Metric {
        self.inner.load()
    }
}
