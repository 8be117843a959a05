use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::InFlight;

pin_project! {
    /// The body of a response: the inner service's. Its call is in flight until it has ended, failed, or was dropped.
    ///
    /// Frames, trailers, errors, size and end come through unchanged. It is `Unpin`, `Default` and `Send` if the inner body is.
    #[derive(Debug, Default)]
    pub struct CloseBody<B> {
        // Before the call's count, so that its connection is let go of first.
        #[pin]
        inner: B,
        in_flight: Option<InFlight>,
    }
}

impl<B: Body> CloseBody<B> {
    pub(super) fn new(inner: B, in_flight: Option<InFlight>) -> Self {
        let in_flight = in_flight.filter(|_| !inner.is_end_stream());
        Self { inner, in_flight }
    }
}

impl<B> CloseBody<B> {
    /// The inner body.
    #[must_use]
    pub const fn get_ref(&self) -> &B {
        &self.inner
    }

    /// Takes the inner body out. The call is in flight no more, even though the body may not have ended.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Body> Body for CloseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        let goes_on = matches!(frame, Some(Ok(_))) && !this.inner.is_end_stream();
        if !goes_on {
            *this.in_flight = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
