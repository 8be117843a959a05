use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::permit::Permit;

pin_project! {
    /// The body of a limited response: the inner service's, holding its call's permit until it
    /// ended.
    ///
    /// The permit is given back with the last frame if the body knows that it is the last, else
    /// when the body reports its end, at its first error, or when it is dropped. After the call's
    /// deadline, another call that finds the limit full takes it back. A body that is leaked, by
    /// [`std::mem::forget`], keeps its permit until then, and for ever without a deadline. Frames, trailers,
    /// errors, size and end come through unchanged; it is `Unpin`, `Default` and `Send` if the
    /// inner body is.
    #[derive(Debug, Default)]
    pub struct PermitBody<B> {
        // Before the permit, so that a dropped body lets go of its connection before the next call
        // goes out.
        #[pin]
        inner: B,
        permit: Option<Permit>,
    }
}

impl<B> PermitBody<B> {
    /// `inner`, for which no permit is held.
    pub(crate) const fn free(inner: B) -> Self {
        Self {
            inner,
            permit: None,
        }
    }

    /// The inner body, to be looked at.
    #[must_use]
    pub const fn get_ref(&self) -> &B {
        &self.inner
    }

    /// Takes the inner body out and gives the permit back, even though the body may not have ended.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Body> PermitBody<B> {
    /// `inner`, which keeps `permit` until it ended.
    pub(crate) fn new(inner: B, permit: Option<Permit>) -> Self {
        let permit = permit.filter(|_| !inner.is_end_stream());
        Self { inner, permit }
    }
}

impl<B: Body> Body for PermitBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        let more = matches!(frame, Some(Ok(_))) && !this.inner.is_end_stream();
        if !more {
            *this.permit = None;
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
