use std::task::{Context, Poll};

use courteous_core::{BoxError, CallContext, LayerKind, Scope};
use http::{Request, Response};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    CallTimeout, Coverage, DeadlineBody, ReadyCall, ResponseFuture, TotalTimeoutLayer,
    events::Subject, limit::Limit, overrides::others, told::Told,
};

/// Ends a call that takes too long as a whole: the service that [`TotalTimeoutLayer`] makes.
///
/// The call's deadline is told to all layers inside by the request's [`CallContext`], where the
/// earliest one wins: a nested total timeout can only shorten. [`CallTimeout`] among the request's
/// extensions replaces the layer's timeout, and [`Coverage`] or [`LongLived`](courteous_core::LongLived) how far it reaches.
///
/// # Readiness
/// Always ready. The response future readies a clone of the inner service of its own, so that the
/// timeout covers that too. So this layer belongs outside of a balancer, which asks its endpoints
/// for their readiness, and never around an endpoint.
///
/// # Cancel safety
/// Dropping the response future, in any state, drops the clone that it was readying or the inner
/// response future, and its timer. All of that is also gone once it has resolved.
///
/// # Errors
/// [`Elapsed`](courteous_core::Elapsed) with [`Scope::Total`] when the deadline strikes while the
/// call waits; its limit is the timeout that has ended, which is that of a layer further out if its
/// deadline is the earlier one. A call that is not sent by then is never sent. Errors of the inner service come through as they are, and a response or an
/// error that is here at the deadline wins.
#[derive(Clone, Debug)]
pub struct TotalTimeout<S> {
    inner: S,
    settings: TotalTimeoutLayer,
}

impl<S> TotalTimeout<S> {
    pub(crate) const fn new(inner: S, settings: TotalTimeoutLayer) -> Self {
        Self { inner, settings }
    }

    /// The inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service. Each call is made by a clone of it.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The layer that the service has its settings from.
    #[must_use]
    pub const fn layer(&self) -> &TotalTimeoutLayer {
        &self.settings
    }

    /// Unwraps the inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S> Layer<S> for TotalTimeoutLayer {
    type Service = TotalTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LayerKind::TotalTimeout.check_order::<S>();
        TotalTimeout::new(inner, self.clone())
    }
}

impl<S, B, RB> Service<Request<B>> for TotalTimeout<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<DeadlineBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<ReadyCall<S, Request<B>, S::Future>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let subject = Subject::of(&request);
        let extensions = request.extensions_mut();
        let context = extensions.get::<CallContext>();
        let (asked, record) = others(extensions, context);
        let switch = self.settings.observe_only_switch();
        let told = Told::of(switch, Told::TotalObserver, record);
        let context = context.copied().unwrap_or_default();
        let (timeout, coverage) = match asked {
            true => (
                extensions.get().map(|&CallTimeout(timeout)| timeout),
                Coverage::asked_by(extensions),
            ),
            false => (None, None),
        };
        let timeout = timeout.unwrap_or(self.settings.timeout());
        let coverage = coverage.unwrap_or(self.settings.coverage());
        let now = Instant::now();
        let limit = Limit::earliest(now, timeout, Scope::Total, context);
        let (limit, told) = told.begin(limit, now, &subject);
        let enforced = limit.filter(|_| !told.is_observer());
        if let Some(limit) = enforced {
            let (timeout, deadline) = (limit.timeout(), limit.deadline());
            let context = CallContext::edit(extensions);
            match coverage {
                Coverage::Body => context.tighten_to_end_of(timeout, deadline),
                Coverage::Headers => context.tighten_head_to_end_of(timeout, deadline),
            }
        }
        // `self.inner` is never polled ready by us, so a plain clone leaves nothing behind.
        let call = ReadyCall::new(self.inner.clone(), request, enforced);
        ResponseFuture::new(call, limit, coverage, told, subject)
    }
}

#[cfg(feature = "load")]
impl<S: tower::load::Load> tower::load::Load for TotalTimeout<S> {
    type Metric = S::Metric;

    fn load(&self) -> Self::Metric {
        self.inner.load()
    }
}
