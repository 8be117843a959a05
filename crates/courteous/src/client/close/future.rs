use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::BoxError;
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::{CloseBody, InFlight};

pin_project! {
    /// The response of a [`Close`](super::Close).
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the call: it is in flight no more.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<F> {
        // Before the call's count, so that all that the call holds is given back first.
        #[pin]
        inner: F,
        in_flight: Option<InFlight>,
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn new(inner: F, in_flight: Option<InFlight>) -> Self {
        Self { inner, in_flight }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    E: Into<BoxError>,
{
    type Output = Result<Response<CloseBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        let in_flight = this.in_flight.take();
        Poll::Ready(match result {
            Ok(response) => Ok(response.map(|body| CloseBody::new(body, in_flight))),
            Err(error) => Err(error.into()),
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("in_flight", &self.in_flight.is_some())
            .finish_non_exhaustive()
    }
}
