use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// Reads what became of the bodies that count here: a handle, shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct BodyCount {
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    made: AtomicUsize,
    gone: AtomicUsize,
    ended: AtomicUsize,
    polls: AtomicUsize,
    bytes: AtomicUsize,
}

impl BodyCount {
    /// A count of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bodies were ever made.
    #[must_use]
    pub fn made(&self) -> usize {
        self.counters.made.load(Relaxed)
    }

    /// How many bodies were not dropped yet.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.made() - self.counters.gone.load(Relaxed)
    }

    /// How many bodies were read to their end, or until they failed.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.counters.ended.load(Relaxed)
    }

    /// How often the bodies were polled, all together.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.counters.polls.load(Relaxed)
    }

    /// How many bytes of data the bodies have yielded, all together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.counters.bytes.load(Relaxed)
    }
}

pin_project! {
    /// A body that counts: made, alive, polled, read to its end.
    #[derive(Debug, Default)]
    pub struct CountingBody<B> {
        #[pin]
        inner: B,
        guard: Guard,
    }
}

#[derive(Debug)]
struct Guard {
    counters: Arc<Counters>,
}

impl<B> CountingBody<B> {
    /// `inner`, counted in `count`.
    pub fn new(inner: B, count: &BodyCount) -> Self {
        let counters = count.counters.clone();
        Self {
            inner,
            guard: Guard::new(counters),
        }
    }
}

impl Guard {
    fn new(counters: Arc<Counters>) -> Self {
        counters.made.fetch_add(1, Relaxed);
        Self { counters }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.counters.gone.fetch_add(1, Relaxed);
    }
}

impl<B: Body> Body for CountingBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let counters = &this.guard.counters;
        counters.polls.fetch_add(1, Relaxed);
        let frame = ready!(this.inner.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                counters.bytes.fetch_add(bytes, Relaxed);
            }
            Some(Err(_)) | None => {
                counters.ended.fetch_add(1, Relaxed);
            }
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
