use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use courteous_core::BoxError;
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::{NotReplayable, Overtaken, buffer::Buffer};

/// A source, what was kept of it, and who may read it.
pub(crate) struct Shared<B>(Mutex<State<B>>);

struct State<B> {
    source: Source<B>,
    buffer: Buffer,
    /// The trailers count too.
    limit: usize,
    /// How many [`Kept`](crate::Kept) there are: with none, nothing more has to be kept.
    keepers: usize,
    /// Whether what is read is kept: there is somebody to keep it for, and it fits so far.
    keeping: bool,
    /// The newest copy, and how far it has read.
    owner: u64,
    read: u64,
    /// The newest copy's task, if it waits for the source.
    waker: Option<Waker>,
}

enum Source<B> {
    Live(Pin<Box<B>>),
    Ended {
        trailers: Option<HeaderMap>,
    },
    /// Cannot be read, nor given again, any more.
    Lost(NotReplayable),
}

impl<B> Source<B> {
    fn live(source: B) -> Self {
        Self::Live(Box::pin(source))
    }
}

impl<B> Shared<B> {
    /// A source whose first reader is the copy 0, and which is not kept yet. Without one, it cannot be read before it is
    /// [filled](Self::fill).
    pub(crate) fn new(source: Option<B>) -> Self {
        Self(Mutex::new(State {
            source: source.map_or(Source::Lost(NotReplayable::SourceFailed), Source::live),
            buffer: Buffer::default(),
            limit: 0,
            keepers: 0,
            keeping: false,
            owner: 0,
            read: 0,
            waker: None,
        }))
    }

    /// Gives it its source.
    pub(crate) fn fill(&self, source: B) {
        self.lock().source = Source::live(source);
    }

    /// Keeps at most `limit` bytes of what is read from now on.
    pub(crate) fn keep(&self, limit: usize) {
        let mut state = self.lock();
        if state.keepers == 0 {
            state.limit = limit;
        } else {
            state.limit = state.limit.max(limit);
        }
        state.keepers += 1;
        state.keeping = true;
    }

    /// The opposite of [`keep`](Self::keep).
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        state.keepers -= 1;
        if state.keepers == 0 {
            state.keeping = false;
            state.release_what_was_read();
        }
    }

    /// Whether all from `start` on can be read once more.
    pub(crate) fn check(&self, start: u64) -> Result<(), NotReplayable> {
        self.lock().check(start)
    }

    /// How many bytes of data are held.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.lock().buffer.len()
    }

    /// Makes a new copy, which reads from `start`, the only one that can read; returns its number.
    pub(crate) fn take_over(&self, start: u64) -> Result<u64, NotReplayable> {
        let mut state = self.lock();
        state.check(start)?;
        state.buffer.freeze();
        state.owner += 1;
        state.read = start;
        let owner = state.owner;
        let overtaken = state.waker.take();
        drop(state);
        // Woken outside the lock, to fail: nobody else would wake it.
        if let Some(waker) = overtaken {
            waker.wake();
        }
        Ok(owner)
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // A source that panicked was lost before; nothing else here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body<Data = Bytes>> Shared<B>
where
    B::Error: Into<BoxError>,
{
    /// What `copy` reads next.
    pub(crate) fn poll_frame(
        &self,
        copy: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.lock();
        if state.owner != copy {
            return Poll::Ready(Some(Err(Overtaken::new().into())));
        }
        if let Some(chunk) = state.buffer.chunk(state.read) {
            state.read += chunk.len() as u64;
            if state.keepers == 0 {
                state.release_what_was_read();
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        // Taken out while it is polled, so that a source that panics is lost.
        match std::mem::replace(&mut state.source, Source::Lost(NotReplayable::SourceFailed)) {
            Source::Live(mut source) => match source.as_mut().poll_frame(cx) {
                Poll::Pending => {
                    state.source = Source::Live(source);
                    let waker = cx.waker();
                    let stale = match &state.waker {
                        Some(parked) if parked.will_wake(waker) => None,
                        _ => state.waker.replace(waker.clone()),
                    };
                    drop(state);
                    drop(stale); // outside the lock: it may be the last handle on anything
                    Poll::Pending
                }
                Poll::Ready(None) => {
                    state.source = Source::Ended { trailers: None };
                    drop(state);
                    Poll::Ready(None)
                }
                Poll::Ready(Some(Err(error))) => {
                    state.buffer.release();
                    drop(state);
                    Poll::Ready(Some(Err(error.into())))
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        state.take_in(&data, source.size_hint().lower());
                        state.source = Source::Live(source);
                        Poll::Ready(Some(Ok(Frame::data(data))))
                    }
                    Err(frame) => {
                        state.source = match frame.trailers_ref() {
                            Some(trailers) => state.end(trailers),
                            None => {
                                state.pass_over();
                                Source::Live(source)
                            }
                        };
                        drop(state);
                        Poll::Ready(Some(Ok(frame)))
                    }
                },
            },
            Source::Ended { trailers } => {
                let frame = trailers
                    .clone()
                    .map(|trailers| Ok(Frame::trailers(trailers)));
                state.source = Source::Ended { trailers };
                Poll::Ready(frame)
            }
            Source::Lost(reason) => {
                state.source = Source::Lost(reason);
                Poll::Ready(Some(Err(reason.into())))
            }
        }
    }

    /// Whether `copy`, which was read in part, has no more frames to give.
    pub(crate) fn is_end_stream(&self, copy: u64) -> bool {
        let state = self.lock();
        state.owner == copy
            && state.read == state.buffer.end()
            && match &state.source {
                Source::Live(source) => source.is_end_stream(),
                Source::Ended { trailers } => trailers.is_none(),
                Source::Lost(_) => false,
            }
    }
}

impl<B> State<B> {
    fn check(&self, start: u64) -> Result<(), NotReplayable> {
        match self.source {
            Source::Lost(reason) => Err(reason),
            _ if start < self.buffer.base() => Err(NotReplayable::TooLarge),
            _ => Ok(()),
        }
    }

    /// Takes note of `data` that the newest copy just read from the source; `expected` bytes or more are still to come.
    fn take_in(&mut self, data: &[u8], expected: u64) {
        if self.keeping && self.buffer.has_room(data.len(), self.limit) {
            let expected = expected.saturating_add(data.len() as u64);
            self.buffer.push(data, expected, self.limit);
        } else {
            self.keeping = false;
            self.buffer.release();
            self.buffer.skip(data.len());
        }
        self.read = self.buffer.end();
    }

    /// Takes note of a frame of a kind that is not known, and so cannot be kept: it counts as one byte too many.
    fn pass_over(&mut self) {
        self.keeping = false;
        self.buffer.release();
        self.buffer.skip(1);
        self.read = self.buffer.end();
    }

    /// What becomes of the source after its last frame.
    fn end(&mut self, trailers: &HeaderMap) -> Source<B> {
        let len = trailers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if self.keeping && self.buffer.has_room(len, self.limit) {
            let trailers = Some(trailers.clone());
            return Source::Ended { trailers };
        }
        self.keeping = false;
        self.buffer.release();
        Source::Lost(NotReplayable::TooLarge)
    }

    fn release_what_was_read(&mut self) {
        if self.read == self.buffer.end() {
            self.buffer.release();
        }
    }
}

impl<B> fmt::Debug for Shared<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
