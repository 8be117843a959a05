use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use courteous_core::BoxError;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// A body that does what it was told, frame by frame.
///
/// It is `Unpin` and `Default` (empty), knows its exact size unless it fails or stalls, and makes its timers when they
/// are first needed.
#[derive(Default)]
pub struct TestBody {
    steps: VecDeque<Step>,
    pausing: Option<Pin<Box<Sleep>>>,
}

enum Step {
    Chunk(Bytes),
    Trailers(HeaderMap),
    Pause(Duration),
    Fail(BoxError),
    Stall,
}

impl TestBody {
    /// An empty body, at its end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Then yields `data`.
    #[must_use]
    pub fn chunk(self, data: impl Into<Bytes>) -> Self {
        self.then(Step::Chunk(data.into()))
    }

    /// Then yields `trailers`.
    #[must_use]
    pub fn trailers(self, trailers: HeaderMap) -> Self {
        self.then(Step::Trailers(trailers))
    }

    /// Then is pending for `pause` on Tokio's clock, counted from the first poll.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        self.then(Step::Pause(pause))
    }

    /// Then fails with `error`.
    #[must_use]
    pub fn fail(self, error: impl Into<BoxError>) -> Self {
        self.then(Step::Fail(error.into()))
    }

    /// Then is pending for ever.
    #[must_use]
    pub fn stall(self) -> Self {
        self.then(Step::Stall)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }
}

impl<D: Into<Bytes>> From<D> for TestBody {
    fn from(data: D) -> Self {
        Self::new().chunk(data)
    }
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(pausing) = &mut self.pausing {
                ready!(pausing.as_mut().poll(cx));
                self.pausing = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Chunk(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Step::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Some(Step::Pause(pause)) => self.pausing = Some(Box::pin(sleep(pause))),
                Some(Step::Fail(error)) => {
                    self.steps.clear();
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Step::Stall) => {
                    self.steps.push_front(Step::Stall);
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.pausing.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let mut bytes = 0;
        let mut endless = false;
        for step in &self.steps {
            match step {
                Step::Chunk(data) => bytes += data.len() as u64,
                Step::Fail(_) | Step::Stall => endless = true,
                Step::Trailers(_) | Step::Pause(_) => {}
            }
        }
        let mut hint = SizeHint::default();
        if endless {
            hint.set_lower(bytes);
        } else {
            hint.set_exact(bytes);
        }
        hint
    }
}

impl fmt::Debug for TestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestBody")
            .field("steps", &self.steps.len())
            .finish_non_exhaustive()
    }
}
