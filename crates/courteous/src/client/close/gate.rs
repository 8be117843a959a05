use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use courteous_core::{BoxError, CallRecord, NoteKind, RejectReason, Rejected};
use http::Request;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::closer::Closer;

/// Rejects the calls of a client that is closed: the inner part of a [`Stack`](crate::Stack)'s close.
///
/// It is inside of the dead letter, so that a rejected call is kept as any other that was not sent.
///
/// # Readiness
///
/// The inner service's. Once the client is closed, always ready, so that a call is rejected at once; but a task that already
/// waits for the inner service is not woken by the close. A call that is rejected gives the readiness back.
///
/// # Errors
///
/// [`Rejected`] for [`ShuttingDown`](RejectReason::ShuttingDown), boxed; nothing was sent then. The inner service's errors come
/// through.
#[derive(Clone)]
pub struct CloseGate<S> {
    inner: S,
    closer: Closer,
}

impl<S> CloseGate<S> {
    pub(crate) const fn new(inner: S, closer: Closer) -> Self {
        Self { inner, closer }
    }

    pub(crate) const fn closer(&self) -> &Closer {
        &self.closer
    }

    /// Calls the inner service, unless the call is rejected.
    #[inline]
    pub(crate) fn pass<B>(
        &mut self,
        request: Request<B>,
        is_rejected: bool,
    ) -> GateFuture<S::Future>
    where
        S: Service<Request<B>> + Clone,
    {
        if is_rejected {
            let note = NoteKind::Rejected(RejectReason::ShuttingDown);
            CallRecord::note_in(request.extensions(), note);
            // Gives the readiness back.
            self.inner = self.inner.clone();
            let state = State::Rejected;
            return GateFuture { state };
        }
        // In one step, so that the future is made in its place, and not moved there.
        GateFuture {
            state: State::Passed {
                call: self.inner.call(request),
            },
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

    /// Takes the inner service out.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B> Service<Request<B>> for CloseGate<S>
where
    S: Service<Request<B>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = GateFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            // The call is rejected without the inner service.
            _ if self.closer.is_closing() => Poll::Ready(Ok(())),
            not_ready => not_ready.map_err(Into::into),
        }
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_rejected = self.closer.is_closing();
        self.pass(request, is_rejected)
    }
}

impl<S: fmt::Debug> fmt::Debug for CloseGate<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseGate")
            .field("inner", &self.inner)
            .field("closer", &self.closer)
            .finish()
    }
}

pin_project! {
    /// The response of a [`CloseGate`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct GateFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Passed { #[pin] call: F },
        Rejected,
    }
}

impl<F, T, E> Future for GateFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Passed { call } => call.poll(cx).map_err(Into::into),
            StateProj::Rejected => {
                Poll::Ready(Err(Rejected::new(RejectReason::ShuttingDown).into()))
            }
        }
    }
}

impl<F> fmt::Debug for GateFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateFuture")
            .field("is_rejected", &matches!(self.state, State::Rejected))
            .finish_non_exhaustive()
    }
}
