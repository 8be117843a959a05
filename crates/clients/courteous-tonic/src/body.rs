use std::{
    pin::Pin,
    task::{Context, Poll},
};

use courteous_core::BoxError;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;

use crate::to_status;

pin_project! {
    /// A response body whose errors are gRPC statuses.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct StatusBody<B> {
        #[pin]
        inner: B,
    }
}

impl<B> StatusBody<B> {
    pub(crate) const fn new(inner: B) -> Self {
        Self { inner }
    }
}

impl<B: Body> Body for StatusBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Status>>> {
        self.project().inner.poll_frame(cx).map_err(to_status)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
