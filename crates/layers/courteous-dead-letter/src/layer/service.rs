use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use courteous_body::{Keep, Native};
use courteous_core::{BoxError, LettersSnapshot, ObserveOnly};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{pending_call::PendingCall, settings::Settings};
use crate::ResponseFuture;

/// The service that [`DeadLetterLayer`](crate::DeadLetterLayer) makes.
///
/// # Readiness
///
/// The readiness is the inner service's. A readiness error is not a failed call, and is not
/// recorded.
///
/// # Cancel safety
///
/// Dropping the response future of a call in flight records nothing, unless the layer was given the
/// reason [`Abandoned`](crate::Reason::Abandoned). Then the letter is handed to the sink, and the
/// drop does not wait for it. If a call has failed and its letter is being recorded, dropping its
/// future takes nothing back.
///
/// # Errors
///
/// A call that has failed and is recorded has the same outcome as without the layer.
/// [`DeadLettered`] is among the extensions of the response, or around the error. If recording
/// failed, [`NotRecorded`] is in the same places. All other outcomes pass through.
///
/// A streamed body is read to its end for the record. If the server fails the call before it has
/// read the whole body, the rest is not sent to the server any more. A body that is in memory, such
/// as `Full`, is not touched.
///
/// [`DeadLettered`]: crate::DeadLettered
/// [`NotRecorded`]: crate::NotRecorded
#[derive(Clone)]
pub struct DeadLetter<S, K = Native> {
    inner: S,
    settings: Arc<Settings>,
    keep: K,
}

impl<S, K> DeadLetter<S, K> {
    pub(crate) const fn new(inner: S, settings: Arc<Settings>, keep: K) -> Self {
        Self {
            inner,
            settings,
            keep,
        }
    }

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

    /// How many letters were made: see [`DeadLetterLayer::snapshot`](crate::DeadLetterLayer::snapshot).
    #[must_use]
    pub fn snapshot(&self) -> LettersSnapshot {
        self.settings.counts.snapshot()
    }

    /// The switch that says whether the layer only observes. `None` if it enforces.
    #[must_use]
    pub fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.settings.observe.as_ref()
    }

    /// The inner service, without the layer.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, K, B, RB> Service<Request<B>> for DeadLetter<S, K>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
    K: Keep<B> + Clone,
    B: Body,
    RB: Body,
{
    type Response = Response<RB>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, K, B, RB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (pending, request) = PendingCall::of(request, &self.settings, &self.keep);
        ResponseFuture::new(self.inner.call(request), pending, self.settings.must_record)
    }
}

#[cfg(feature = "load")]
impl<S: tower::load::Load, K> tower::load::Load for DeadLetter<S, K> {
    type Metric = S::Metric;

    fn load(&self) -> S::Metric {
        self.inner.load()
    }
}

impl<S: fmt::Debug, K> fmt::Debug for DeadLetter<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
