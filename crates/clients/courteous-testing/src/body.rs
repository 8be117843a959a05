use std::{
    collections::VecDeque,
    fmt,
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use courteous_core::{BoxError, timer};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// A body that does what it was told, step by step: the body of a scripted response, and a request
/// body for tests of uploads.
///
/// It is `Unpin` and `Default` (empty), and knows its exact size unless it fails or stalls. Its
/// timers are made when they are first polled, on Tokio's clock: outside of a Tokio runtime a pause
/// fails with [`NoRuntime`](courteous_core::NoRuntime).
///
/// ```
/// use std::time::Duration;
///
/// use courteous_testing::ScriptBody;
/// use http::Request;
///
/// let second = Duration::from_secs(1);
/// let upload = ScriptBody::new().chunk("first half, ").pause(second).chunk("second half");
/// let request = Request::put("http://api.example/notes/1").body(upload)?;
/// # let _ = request;
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Default)]
pub struct ScriptBody {
    steps: VecDeque<Step>,
    pausing: Option<Pin<Box<Sleep>>>,
}

enum Step {
    Chunk(Bytes),
    Trailers(HeaderMap),
    Pause(Duration),
    Fail(BoxError),
    Cut,
    Stall,
}

impl ScriptBody {
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

    /// Then is pending for `pause` on Tokio's clock, counted from the first poll. [`Duration::MAX`]
    /// is as good as for ever.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        self.then(Step::Pause(pause))
    }

    /// Then fails with `error`.
    #[must_use]
    pub fn fail(self, error: impl Into<BoxError>) -> Self {
        self.then(Step::Fail(error.into()))
    }

    /// Then the connection is lost: fails with an [`io::Error`] of the kind
    /// [`UnexpectedEof`](ErrorKind::UnexpectedEof).
    #[must_use]
    pub fn cut(self) -> Self {
        self.then(Step::Cut)
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

    /// Is over, as a failed body is.
    fn fail_now(
        &mut self,
        error: impl Into<BoxError>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.steps.clear();
        Poll::Ready(Some(Err(error.into())))
    }

    /// Whether the next step is to lose the connection. A server does that itself.
    #[cfg(feature = "server")]
    pub(crate) fn is_about_to_be_cut(&self) -> bool {
        self.pausing.is_none() && matches!(self.steps.front(), Some(Step::Cut))
    }
}

impl<D: Into<Bytes>> From<D> for ScriptBody {
    fn from(data: D) -> Self {
        Self::new().chunk(data)
    }
}

impl Body for ScriptBody {
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
                Some(Step::Pause(pause)) => match Instant::now().checked_add(pause) {
                    Some(end) => match timer(end) {
                        Ok(pausing) => self.pausing = Some(Box::pin(pausing)),
                        Err(error) => return self.fail_now(error),
                    },
                    None => self.steps.push_front(Step::Stall),
                },
                Some(Step::Fail(error)) => return self.fail_now(error),
                Some(Step::Cut) => {
                    let error = io::Error::new(ErrorKind::UnexpectedEof, "body cut, as scripted");
                    return self.fail_now(error);
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
                Step::Fail(_) | Step::Cut | Step::Stall => endless = true,
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

impl fmt::Debug for ScriptBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptBody")
            .field("steps", &self.steps.len())
            .finish_non_exhaustive()
    }
}
