use std::task::{Context, Poll};

use courteous_core::{
    BoxError, CallContext, LayerKind, LongLived, ObserveOnly, OriginHashes, RequestView, WaitedFor,
};
use courteous_limit::Waiting;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    body::PermitBody, events, future::ResponseFuture, layer::AdaptiveLimitLayer,
    limiter::Admission, partition::Partition,
};

/// Lets no more attempts be in flight than the server bears. [`AdaptiveLimitLayer`] makes it.
///
/// # Readiness
///
/// `poll_ready` asks only the inner service, and reserves no permit. A call that is admitted at once
/// goes to the same instance that was polled ready. A call that has to wait first gives that readiness
/// back; its future readies its own clone.
///
/// # Cancel safety
///
/// In any state, dropping the response future gives back its place in the queue or its permit.
/// Dropping the response body gives back its permit. An attempt that is dropped before its head came
/// counts as late if it was, and as a time-out after the call's deadline.
///
/// # Errors
///
/// A rejected call fails with [`Rejected`](courteous_core::Rejected), boxed; nothing was sent. The
/// inner service's errors pass through, boxed.
#[derive(Clone, Debug)]
pub struct AdaptiveLimit<S, P = crate::AdaptiveLimiter> {
    inner: S,
    limit: AdaptiveLimitLayer<P>,
}

// Here, because the service contains its layer; so `layer` does not depend on this module.
impl<S, P: Clone> Layer<S> for AdaptiveLimitLayer<P> {
    type Service = AdaptiveLimit<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        LayerKind::AdaptiveLimit.check_order::<S>();
        AdaptiveLimit {
            inner,
            limit: self.clone(),
        }
    }
}

impl<S, P> AdaptiveLimit<S, P> {
    /// The inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to be changed.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The layer from which the service has its settings and its limiters.
    #[must_use]
    pub const fn layer(&self) -> &AdaptiveLimitLayer<P> {
        &self.limit
    }

    /// Takes the inner service out.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, RB, P> Service<Request<B>> for AdaptiveLimit<S, P>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    RB: Body,
    P: Partition,
{
    type Response = Response<PermitBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let AdaptiveLimitLayer {
            partition,
            waits,
            observe,
        } = &self.limit;
        let mut waits = *waits;
        let observe = ObserveOnly::active(observe.as_ref());
        waits.observed = observe.is_some();
        let extensions = request.extensions();
        let context = extensions.get::<CallContext>();
        // Usually there are no other extensions, and then nothing else is looked up.
        let is_long_lived = extensions.len() > usize::from(context.is_some())
            && extensions.get::<LongLived>().is_some();
        let hashes = OriginHashes::of(context);
        let limiter = partition.select(RequestView::of(&request).with_hashes(&hashes));
        let admission = limiter.admit(context, &waits);
        hashes.carry(request.extensions_mut());
        match admission {
            Admission::Now(permit) => {
                // If this panics, the permit is given back.
                let future = self.inner.call(request);
                ResponseFuture::running(future, permit, is_long_lived)
            }
            Admission::Wait(turn) => {
                // Gives the readiness back: a new clone takes the place of the instance that was
                // polled.
                self.inner = self.inner.clone();
                let waiting = Waiting::new(
                    turn,
                    self.inner.clone(),
                    request,
                    (),
                    WaitedFor::Concurrency,
                );
                ResponseFuture::waiting(waiting, is_long_lived)
            }
            Admission::Observed(permit, is_rejected) => {
                if let Some(observe) = observe {
                    events::observed(&request, is_rejected, observe);
                }
                let future = self.inner.call(request);
                ResponseFuture::running(future, permit, is_long_lived)
            }
            Admission::Rejected(rejected) => {
                self.inner = self.inner.clone();
                events::rejected(&request, &rejected);
                ResponseFuture::rejected(rejected)
            }
        }
    }
}

/// The attempts in flight and waiting at the limiter, from all its stacks.
#[cfg(feature = "load")]
impl<S, P: Partition> tower::load::Load for AdaptiveLimit<S, P> {
    type Metric = usize;

    fn load(&self) -> usize {
        let snapshot = self.limit.snapshot();
        snapshot.map_or(0, |snapshot| snapshot.in_flight + snapshot.waiting)
    }
}
