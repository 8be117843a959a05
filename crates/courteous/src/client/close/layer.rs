use std::{
    fmt,
    task::{Context, Poll},
};

use courteous_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{CloseBody, CloseGate, GateFuture, ResponseFuture, closer::Closer};

/// Lets a stack that was composed by hand be closed by a [`Closer`]. A [`Stack`](crate::Stack) has it.
///
/// It goes outermost, where it counts all that a call does, to the end of the response body. A call that it rejects reaches no
/// layer inside, so a dead letter layer inside keeps none of these; that of a `Stack` does.
///
/// # Sharing
///
/// Every service that it makes, and every clone of one, is closed by its closer.
#[derive(Clone, Debug, Default)]
pub struct CloseLayer {
    closer: Closer,
}

impl CloseLayer {
    /// A layer with a closer of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The handle that closes what this layer makes.
    #[must_use]
    pub const fn closer(&self) -> &Closer {
        &self.closer
    }
}

/// A layer whose services are closed by `closer`, with all others of it.
impl From<Closer> for CloseLayer {
    fn from(closer: Closer) -> Self {
        Self { closer }
    }
}

impl<S> Layer<S> for CloseLayer {
    type Service = Close<S>;

    fn layer(&self, inner: S) -> Close<S> {
        Close {
            inner: CloseGate::new(inner, self.closer.clone()),
        }
    }
}

/// A service that can be closed. Made by [`CloseLayer`].
///
/// # Readiness
///
/// The inner service's. Once it is closed, always ready, so that a call is rejected at once; but a task that already waits for
/// the inner service is not woken by the close. A call that is rejected gives the readiness back.
///
/// # Cancel safety
///
/// Dropping the response future, or the response body, ends the call: it is in flight no more.
///
/// # Errors
///
/// [`Rejected`](crate::core::Rejected) for [`ShuttingDown`](crate::core::RejectReason::ShuttingDown), boxed, once it is closed; nothing was
/// sent then. The inner service's errors come through.
#[derive(Clone)]
pub struct Close<S> {
    inner: CloseGate<S>,
}

impl<S> Close<S> {
    /// The inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// The inner service, to be changed.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        self.inner.get_mut()
    }

    /// Takes the inner service out.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }
}

impl<S, B, RB> Service<Request<B>> for Close<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    RB: Body,
{
    type Response = Response<CloseBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<GateFuture<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let in_flight = self.inner.closer().enter_unless_closing();
        // A call that was counted passes, though the client may be closed by now: the close waits for it.
        ResponseFuture::new(self.inner.pass(request, in_flight.is_none()), in_flight)
    }
}

impl<S: fmt::Debug> fmt::Debug for Close<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Close").field(&self.inner).finish()
    }
}
