//! Doubles that several tests share.
#![allow(dead_code, reason = "each test crate uses some of them")]
#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use courteous_core::{BoxError, Elapsed, Scope, find_cause};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) type Bytes = &'static [u8];

pub(crate) fn request() -> Request<Full<Bytes>> {
    Request::new(Full::default())
}

/// The timeout that `error` is about.
pub(crate) fn elapsed(error: &BoxError) -> (Duration, Scope) {
    let elapsed = find_cause::<Elapsed>(&**error).expect("a timeout");
    (elapsed.limit(), elapsed.scope())
}

/// Ready `late` after each clone of it was first asked, and only for one call; answers at once.
#[derive(Debug, Default)]
pub(crate) struct Late {
    pub(crate) late: Duration,
    pub(crate) calls: Arc<AtomicUsize>,
    readying: Option<Pin<Box<Sleep>>>,
    is_ready: bool,
    alive: Arc<()>,
}

impl Late {
    pub(crate) fn new(late: Duration) -> Self {
        Self {
            late,
            ..Self::default()
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many clones there are, this one included.
    pub(crate) fn alive(&self) -> usize {
        Arc::strong_count(&self.alive)
    }
}

impl Clone for Late {
    fn clone(&self) -> Self {
        Self {
            late: self.late,
            calls: self.calls.clone(),
            readying: None,
            is_ready: false,
            alive: self.alive.clone(),
        }
    }
}

impl<R> Service<R> for Late {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let until = Instant::now() + self.late;
        if !self.is_ready {
            let readying = self
                .readying
                .get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(readying.as_mut().poll(cx));
            self.is_ready = true;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: R) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called, yet not ready");
        self.readying = None;
        self.calls.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new(Full::default())))
    }
}

/// A body whose frames come at their own times.
#[derive(Debug, Default)]
pub(crate) struct Drip {
    frames: VecDeque<(Instant, Frame<Bytes>)>,
    next: Option<Pin<Box<Sleep>>>,
    ends_at_once: bool,
    pub(crate) alive: Arc<()>,
}

impl Drip {
    /// `frames`, at their times from now on.
    pub(crate) fn new(frames: impl IntoIterator<Item = (Duration, Frame<Bytes>)>) -> Self {
        let now = Instant::now();
        let frames = frames.into_iter().map(|(at, frame)| (now + at, frame));
        Self {
            frames: frames.collect(),
            ..Self::default()
        }
    }

    /// One byte each second, `n` times.
    pub(crate) fn each_second(n: u32) -> Self {
        Self::new((1..=n).map(|i| (i * SECOND, Frame::data(b"." as Bytes))))
    }
}

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(&(at, _)) = self.frames.front() else {
            return Poll::Ready(None);
        };
        if at > Instant::now() {
            let next = self.next.get_or_insert_with(|| Box::pin(sleep_until(at)));
            ready!(next.as_mut().poll(cx));
        }
        self.next = None;
        Poll::Ready(self.frames.pop_front().map(|(_, frame)| Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let len = self.frames.iter().filter_map(|(_, frame)| frame.data_ref());
        SizeHint::with_exact(len.map(|data| data.len() as u64).sum())
    }
}
