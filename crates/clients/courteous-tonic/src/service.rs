use std::{
    sync::Arc,
    task::{Context, Poll},
};

use courteous_core::CallTimeout;
use courteous_core::{BoxError, CallContext, Idempotent};
use http::{Request, Response};
use tokio::time::Instant;
use tonic::Status;
use tower_service::Service;

use crate::{ResponseFuture, StatusBody, methods::Methods, to_status};

/// Turns the errors of `S`, and of its response bodies, into gRPC statuses.
///
/// A generated client makes a status of every error itself, but reports our errors only as UNKNOWN.
/// See [`to_status`] for the statuses that they become here.
///
/// A request's own timeout, which `tonic::Request::set_timeout` writes as `grpc-timeout`, becomes
/// the deadline of the whole call, including all attempts and the pauses between them. It can only
/// shorten the limit of outer layers.
///
/// # Readiness
///
/// The inner service's.
///
/// # Errors
///
/// [`Status`], with the error as its source.
///
/// The same holds if the server has *answered* with a failure and a retry inside has given up. The
/// error is then the server's own status, unchanged, with a [`Retried`](courteous_core::Retried) as
/// its source. Its [`RetryInfo`](courteous_core::RetryInfo) tells why there was no further attempt,
/// for example because the retry budget was spent. A generated client would make the same status of
/// the response and drop the response's extensions, which hold this information. All of them are in
/// [`FailedAnswer`](crate::FailedAnswer).
#[derive(Clone, Debug, Default)]
pub struct GrpcStatus<S> {
    inner: S,
    idempotent: Option<Arc<Methods>>,
}

impl<S> GrpcStatus<S> {
    /// Turns the errors of `inner` into gRPC statuses.
    #[must_use]
    pub const fn new(inner: S) -> Self {
        Self::with_idempotent(inner, None)
    }

    pub(crate) const fn with_idempotent(inner: S, idempotent: Option<Arc<Methods>>) -> Self {
        Self { inner, idempotent }
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

    /// The inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, RB> Service<Request<B>> for GrpcStatus<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<StatusBody<RB>>;
    type Error = Status;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx).map_err(to_status)
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<S::Future> {
        if let Some(CallTimeout(timeout)) = CallTimeout::from_headers(request.headers())
            && let Some(deadline) = Instant::now().checked_add(timeout)
        {
            let context = CallContext::edit(request.extensions_mut());
            context.tighten_to_end_of(timeout, deadline);
        }
        if let Some(idempotent) = &self.idempotent
            && idempotent.contain(request.uri().path())
            && request.extensions().get::<Idempotent>().is_none()
        {
            request.extensions_mut().insert(Idempotent(true));
        }
        ResponseFuture::new(self.inner.call(request))
    }
}
