use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A response body that holds a guard until it has ended: a permit, or a count of calls in flight.
    ///
    /// The guard is dropped with the last frame, if the body knows that it is the last. Otherwise
    /// it is dropped when the body reports its end, at the body's first error, or when the body is
    /// dropped. Frames, trailers, errors, size and end are the inner body's. It is `Unpin`,
    /// `Default` and `Send` if the inner body is.
    #[derive(Debug)]
    pub struct GuardBody<B, G> {
        // Before the guard, so that a dropped body releases its connection before the next call
        // goes out.
        #[pin]
        inner: B,
        guard: Option<G>,
    }
}

impl<B, G> GuardBody<B, G> {
    /// `inner` without a guard.
    pub const fn free(inner: B) -> Self {
        Self { inner, guard: None }
    }

    /// The inner body, for reading.
    #[must_use]
    pub const fn get_ref(&self) -> &B {
        &self.inner
    }

    /// Takes the inner body out and drops the guard, even though the body may not have ended.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Body, G> GuardBody<B, G> {
    /// `inner`, which holds `guard` until it has ended. If the body has already ended, the guard is
    /// dropped at once.
    pub fn new(inner: B, guard: Option<G>) -> Self {
        let guard = guard.filter(|_| !inner.is_end_stream());
        Self { inner, guard }
    }
}

impl<B: Default, G> Default for GuardBody<B, G> {
    fn default() -> Self {
        Self::free(B::default())
    }
}

impl<B: Body, G> Body for GuardBody<B, G> {
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
            *this.guard = None;
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
