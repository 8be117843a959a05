use std::{
    fmt,
    task::{Context, Poll},
};

use courteous_core::{
    AsError, CallContext, LayerKind, LongLived, ObserveOnly, OriginHashes, Reject, RequestView,
};
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    body::PermitBody,
    events,
    future::ResponseFuture,
    layer::ConcurrencyLimitLayer,
    limiter::{Admission, Limiter},
    partition::Partition,
    queued_call::QueuedCall,
    settings::HoldUntil,
    snapshot::LimitSnapshot,
};

/// Bounds the calls in flight. [`ConcurrencyLimitLayer`] makes it.
///
/// # Readiness
///
/// `poll_ready` asks only the inner service, and reserves no permit: a readied service that is not
/// used holds up no other call.
///
/// A call that is admitted at once goes to the same instance that was polled ready. A call that has
/// to wait first gives that readiness back. Its future takes a permit in the order of the calls,
/// readies its own clone, and calls that clone. While the clone is not ready, the future holds no
/// permit; when the clone is ready, the future asks for a permit as the oldest waiter.
///
/// # Cancel safety
///
/// In any state, dropping the response future gives back its place in the queue or its permit.
/// Dropping the response body gives back its permit. Dropping a readied service gives back only the
/// inner readiness.
///
/// A response future or body that is kept and not polled holds its permit until the call's deadline
/// ([`CallContext`](courteous_core::CallContext)). From then on, the next call that finds the limit
/// full takes the permit back. For a body, the deadline is the earliest one that covers bodies.
/// Without a deadline, the permit is held until the drop, and lost if there is none
/// ([`std::mem::forget`]).
///
/// # Errors
///
/// A rejected call fails with [`Rejected`](courteous_core::Rejected), boxed; nothing was sent. With
/// [`reject_with`](ConcurrencyLimitLayer::reject_with) the call is answered instead. The inner
/// service's errors pass through.
#[derive(Clone)]
pub struct ConcurrencyLimit<S, P = Limiter, R = AsError> {
    inner: S,
    limit: ConcurrencyLimitLayer<P, R>,
}

// Here, because the service contains its layer; so `layer` does not depend on this module.
impl<S, P: Clone, R: Clone> Layer<S> for ConcurrencyLimitLayer<P, R> {
    type Service = ConcurrencyLimit<S, P, R>;

    fn layer(&self, inner: S) -> Self::Service {
        LayerKind::ConcurrencyLimit.check_order::<S>();
        ConcurrencyLimit {
            inner,
            limit: self.clone(),
        }
    }
}

impl<S, P, R> ConcurrencyLimit<S, P, R> {
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
    pub const fn layer(&self) -> &ConcurrencyLimitLayer<P, R> {
        &self.limit
    }

    /// Takes the inner service out.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, P: Partition, R> ConcurrencyLimit<S, P, R> {
    /// What is in force now, if the partition tells it: see [`Partition::snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> Option<LimitSnapshot> {
        self.limit.snapshot()
    }
}

impl<S, P, R, B, RB> Service<Request<B>> for ConcurrencyLimit<S, P, R>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    P: Partition,
    RB: Body,
    R: Reject<RB, S::Error> + Clone,
{
    type Response = Response<PermitBody<RB>>;
    type Error = R::Error;
    type Future = ResponseFuture<S, B, S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), R::Error>> {
        self.inner.poll_ready(cx).map_err(R::error)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let ConcurrencyLimitLayer {
            partition,
            reject,
            settings,
            observe,
        } = &self.limit;
        let mut settings = *settings;
        let observe = ObserveOnly::active(observe.as_ref());
        settings.observed = observe.is_some();
        let extensions = request.extensions();
        let context = extensions.get::<CallContext>();
        // Usually there are no other extensions, and then nothing else is looked up.
        if extensions.len() > usize::from(context.is_some())
            && extensions.get::<LongLived>().is_some()
        {
            settings.hold = HoldUntil::Headers;
        }
        let hold = settings.hold;
        let hashes = OriginHashes::of(context);
        let limiter = partition.select(RequestView::of(&request).with_hashes(&hashes));
        let admission = limiter.admit(context, &settings);
        hashes.carry(request.extensions_mut());
        match admission {
            Admission::Now(permit) => {
                // If this panics, the permit is given back.
                let future = self.inner.call(request);
                ResponseFuture::running(future, Some(permit), hold)
            }
            Admission::Wait(place, bound, end) => {
                // Gives the readiness back: a new clone takes the place of the instance that was
                // polled.
                self.inner = self.inner.clone();
                let inner = self.inner.clone();
                let waiting = QueuedCall::new(place, (bound, end), inner, request, reject.clone());
                ResponseFuture::waiting(waiting, hold)
            }
            Admission::Observed(permit, excess) => {
                if let Some(observe) = observe {
                    events::observed(&request, excess, observe);
                }
                let future = self.inner.call(request);
                ResponseFuture::running(future, permit, hold)
            }
            Admission::Rejected(rejected) => {
                self.inner = self.inner.clone();
                events::rejected(&request, &rejected);
                ResponseFuture::rejected(rejected, reject.clone())
            }
        }
    }
}

impl<S: fmt::Debug, P: fmt::Debug, R: fmt::Debug> fmt::Debug for ConcurrencyLimit<S, P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimit")
            .field("inner", &self.inner)
            .field("limit", &self.limit)
            .finish()
    }
}

/// The calls in flight and waiting at the limiter, from all its stacks. So endpoints whose loads
/// must be compared need a limiter each. With keys, it is the sum over all keys, which takes one
/// pass.
#[cfg(feature = "load")]
impl<S, P: Partition, R> tower::load::Load for ConcurrencyLimit<S, P, R> {
    type Metric = usize;

    fn load(&self) -> usize {
        self.limit.partition.load()
    }
}
