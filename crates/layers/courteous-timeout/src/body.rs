use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::BoxError;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::wait::Wait;

pin_project! {
    /// A response body that fails with [`Elapsed`](courteous_core::Elapsed) if it has not ended at
    /// the deadline, or if no frame comes for as long as its idle timeout.
    ///
    /// What has arrived is handed over, also at the deadline and after it: only waiting ends there.
    /// Then the inner body is dropped at once, and this one has ended. Size hint, end of stream and
    /// trailers are the inner body's.
    ///
    /// # Cancel safety
    /// Dropping it drops the inner body and the timer. There is a timer only while, after a first
    /// wait, the body goes on.
    pub struct DeadlineBody<B> {
        #[pin]
        body: Option<B>,
        wait: Wait,
    }
}

impl<B> DeadlineBody<B> {
    pub(crate) const fn new(body: B, wait: Wait) -> Self {
        Self {
            body: Some(body),
            wait,
        }
    }
}

impl<B> Body for DeadlineBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(mut body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let frame = match body.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) if !body.is_end_stream() => {
                this.wait.frame_came();
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(frame) => frame.map(|frame| frame.map_err(Into::into)),
            Poll::Pending => {
                let struck = ready!(this.wait.poll_end(cx));
                this.body.set(None);
                Some(Err(struck))
            }
        };
        *this.wait = Wait::default();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B: Default> Default for DeadlineBody<B> {
    fn default() -> Self {
        Self::new(B::default(), Wait::default())
    }
}

impl<B: fmt::Debug> fmt::Debug for DeadlineBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineBody")
            .field("body", &self.body)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}
