use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use courteous_core::BoxError;
use http::Response;
use pin_project_lite::pin_project;
use tonic::Status;

use crate::{StatusBody, status::given_up, to_status};

pin_project! {
    /// The response future of a [`GrpcStatus`](crate::GrpcStatus).
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn new(inner: F) -> Self {
        Self { inner }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<StatusBody<B>>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.project().inner.poll(cx);
        result.map(|result| match result {
            Ok(response) => match given_up(&response) {
                Some(status) => Err(status),
                None => Ok(response.map(StatusBody::new)),
            },
            Err(error) => Err(to_status(error)),
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
