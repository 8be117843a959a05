//! A body whose frames arrive when a test says so.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use courteous_core::BoxError;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

/// What a source gives next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Data(&'static [u8]),
    Bytes(Bytes),
    Trailers(HeaderMap),
    Fail,
    Panic,
    End,
}

/// The test's end of a [`Source`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Feed(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    steps: VecDeque<Step>,
    waker: Option<Waker>,
    polls: usize,
    ended: bool,
}

#[derive(Debug)]
pub(crate) struct Source {
    feed: Feed,
    hint: SizeHint,
    // A source need not be `Unpin`.
    _pinned: std::marker::PhantomPinned,
}

impl Feed {
    pub(crate) fn source(&self) -> Source {
        self.sized_source(SizeHint::new())
    }

    pub(crate) fn sized_source(&self, hint: SizeHint) -> Source {
        Source {
            feed: self.clone(),
            hint,
            _pinned: std::marker::PhantomPinned,
        }
    }

    /// A step arrives.
    pub(crate) fn push(&self, step: Step) {
        let waker = {
            let mut inner = self.0.lock().unwrap();
            inner.steps.push_back(step);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// How often the source was polled.
    pub(crate) fn polls(&self) -> usize {
        self.0.lock().unwrap().polls
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut inner = self.feed.0.lock().unwrap();
        inner.polls += 1;
        assert!(!inner.ended, "polled after its end");
        let Some(step) = inner.steps.pop_front() else {
            inner.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(match step {
            Step::Data(data) => Some(Ok(Frame::data(Bytes::from_static(data)))),
            Step::Bytes(data) => Some(Ok(Frame::data(data))),
            Step::Trailers(trailers) => {
                inner.ended = true;
                Some(Ok(Frame::trailers(trailers)))
            }
            Step::Fail => {
                inner.ended = true;
                Some(Err("the disk is gone".into()))
            }
            Step::Panic => {
                drop(inner);
                panic!("a bug in the source");
            }
            Step::End => {
                inner.ended = true;
                None
            }
        })
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        if let Some(upper) = self.hint.upper() {
            hint.set_upper(upper);
        }
        hint.set_lower(self.hint.lower());
        hint
    }
}

pub(crate) fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

/// Everything that a body gave, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) ended: bool,
}

impl Read {
    /// Takes one frame. Returns `false` if there is none now, or no more at all.
    pub(crate) fn step<B>(&mut self, body: &mut B, cx: &mut Context<'_>) -> Result<bool, BoxError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        assert!(!self.ended, "polled after its end");
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(None) => {
                self.ended = true;
                Ok(false)
            }
            Poll::Ready(Some(Err(error))) => Err(error.into()),
            Poll::Ready(Some(Ok(frame))) => {
                match frame.into_data() {
                    Ok(data) => {
                        assert!(self.trailers.is_none(), "data after trailers");
                        self.data.extend_from_slice(&data);
                    }
                    Err(frame) => self.trailers = Some(frame.into_trailers().unwrap()),
                }
                Ok(true)
            }
        }
    }

    /// Takes everything that is there now.
    pub(crate) fn all<B>(body: &mut B) -> Result<Self, BoxError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let mut read = Self::default();
        let mut cx = Context::from_waker(Waker::noop());
        while read.step(body, &mut cx)? {}
        Ok(read)
    }
}
