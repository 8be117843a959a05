use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use courteous_core::{BoxError, Upload};
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::{NotReplayable, Overtaken, buffer::Buffer};

/// A source, what was kept of it, and which copy may read it.
pub(crate) struct Shared<B> {
    state: Mutex<State<B>>,
    /// Created when a watcher first asks for it.
    upload: OnceLock<Upload>,
}

struct State<B> {
    source: Source<B>,
    buffer: Buffer,
    /// The trailers count, too.
    limit: usize,
    /// How many [`Kept`](crate::Kept) exist. If there is none, nothing more has to be kept.
    keepers: usize,
    /// Whether what is read is kept: a [`Kept`](crate::Kept) exists, and it has fitted so far.
    keeping: bool,
    /// The newest copy, and how far it has read.
    owner: u64,
    read: u64,
    /// The waker of the newest copy's task, if it waits for the source.
    waker: Option<Waker>,
}

enum Source<B> {
    Live {
        source: Pin<Box<B>>,
        /// Whether it said that it had ended, after it was polled last.
        ended: bool,
    },
    /// The source is being polled, without the lock.
    Away,
    Ended {
        trailers: Option<HeaderMap>,
    },
    /// The source cannot be read or given again any more.
    Lost(NotReplayable),
}

impl<B> Source<B> {
    fn live(source: B) -> Self {
        Self::Live {
            source: Box::pin(source),
            ended: false,
        }
    }
}

/// A source that is taken out while it is polled. A source may run any code, so it is polled
/// without the lock. A source that panics is lost.
struct Polled<'a, B> {
    shared: &'a Shared<B>,
    source: Option<Pin<Box<B>>>,
}

impl<B> Drop for Polled<'_, B> {
    fn drop(&mut self) {
        if self.source.is_some() {
            let mut state = self.shared.lock();
            state.source = Source::Lost(NotReplayable::SourceFailed);
            let waiting = state.waker.take();
            drop(state);
            wake(waiting);
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<B> Shared<B> {
    /// A source whose first reader is the copy 0, and which is not kept yet. If `source` is `None`,
    /// it cannot be read before it is [filled](Self::fill).
    pub(crate) fn new(source: Option<B>) -> Self {
        Self {
            state: Mutex::new(State {
                source: source.map_or(Source::Lost(NotReplayable::SourceFailed), Source::live),
                buffer: Buffer::default(),
                limit: 0,
                keepers: 0,
                keeping: false,
                owner: 0,
                read: 0,
                waker: None,
            }),
            upload: OnceLock::new(),
        }
    }

    /// Puts the source in.
    pub(crate) fn fill(&self, source: B) {
        let source = Source::live(source);
        self.lock().source = source;
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

    /// The inverse of [`keep`](Self::keep).
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        state.keepers -= 1;
        if state.keepers == 0 {
            state.keeping = false;
            state.release_what_was_read();
        }
    }

    /// Whether everything from `start` on can be read again.
    pub(crate) fn check(&self, start: u64) -> Result<(), NotReplayable> {
        self.lock().check(start)
    }

    /// How many bytes of data are held.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.lock().buffer.len()
    }

    /// Makes a new copy, which reads from `start` and is the only one that can read. Returns its
    /// number.
    pub(crate) fn take_over(&self, start: u64) -> Result<u64, NotReplayable> {
        let mut state = self.lock();
        state.check(start)?;
        state.buffer.freeze();
        state.owner += 1;
        state.read = start;
        let owner = state.owner;
        let overtaken = state.waker.take();
        drop(state);
        // The overtaken copy is woken outside the lock, so that it fails: nothing else would wake
        // it.
        wake(overtaken);
        Ok(owner)
    }

    /// The state to which the newest copy reports what is read of it.
    pub(crate) fn upload(&self) -> Upload {
        self.upload.get_or_init(Upload::new).clone()
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // A source that panicked was already lost; nothing else here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body<Data = Bytes>> Shared<B>
where
    B::Error: Into<BoxError>,
{
    /// Reads the next frame for `copy`. Reports it to the [`Upload`], if there is one.
    pub(crate) fn poll_frame(
        &self,
        copy: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.poll_copy(copy, cx));
        if let Some(upload) = self.upload.get() {
            match &frame {
                Some(Ok(frame)) => upload.advance(frame.data_ref().map_or(0, Bytes::len)),
                None => upload.advance(0),
                // A copy that is overtaken or has failed makes no progress.
                Some(Err(_)) => {}
            }
        }
        Poll::Ready(frame)
    }

    fn poll_copy(
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
        match &state.source {
            Source::Live { .. } => {}
            Source::Away => {
                drop(state);
                return self.wait(copy, cx);
            }
            Source::Ended { trailers } => {
                let frame = trailers
                    .clone()
                    .map(|trailers| Ok(Frame::trailers(trailers)));
                return Poll::Ready(frame);
            }
            Source::Lost(reason) => return Poll::Ready(Some(Err((*reason).into()))),
        }
        let Source::Live { source, .. } = std::mem::replace(&mut state.source, Source::Away) else {
            return Poll::Pending;
        };
        drop(state);
        self.poll_source(copy, source, cx)
    }

    /// Reads from the source, without the lock during the poll.
    fn poll_source(
        &self,
        copy: u64,
        source: Pin<Box<B>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut polled = Polled {
            shared: self,
            source: Some(source),
        };
        let Some(source) = &mut polled.source else {
            return Poll::Pending;
        };
        let mut waker = Some(cx.waker().clone());
        let result = source.as_mut().poll_frame(cx);
        let (ended, expected) = (source.is_end_stream(), source.size_hint().lower());
        let Some(source) = polled.source.take() else {
            return Poll::Pending;
        };
        // A source that is not put back is dropped after the lock.
        let mut source = Some(source);
        let mut live = || match source.take() {
            Some(source) => Source::Live { source, ended },
            None => Source::Lost(NotReplayable::SourceFailed),
        };
        let mut stale = None;
        let mut state = self.lock();
        let overtaken = state.owner != copy;
        let result = match result {
            Poll::Pending => {
                state.source = live();
                if !overtaken {
                    state.park(&mut waker);
                }
                Poll::Pending
            }
            Poll::Ready(None) => {
                state.source = Source::Ended { trailers: None };
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                state.source = Source::Lost(NotReplayable::SourceFailed);
                state.buffer.release();
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let kept = match (frame.data_ref(), frame.trailers_ref()) {
                    (Some(data), _) => {
                        state.source = live();
                        state.take_in(data, expected)
                    }
                    (None, Some(trailers)) => {
                        state.source = state.end(trailers);
                        true
                    }
                    (None, None) => {
                        state.source = live();
                        state.pass_over();
                        false
                    }
                };
                if overtaken {
                    // Read for the newest copy. That copy gets it from what is kept, or not at all.
                    state.buffer.freeze();
                    if !kept {
                        let lost = Source::Lost(NotReplayable::TooLarge);
                        stale = Some(std::mem::replace(&mut state.source, lost));
                    }
                } else {
                    state.read = state.buffer.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        };
        // The newest copy waits for this poll, and the source does not know its task.
        let newest = overtaken.then(|| state.waker.take()).flatten();
        drop(state);
        drop(stale);
        wake(newest);
        match overtaken {
            true => Poll::Ready(Some(Err(Overtaken::new().into()))),
            false => result.map_err(Into::into),
        }
    }

    /// Waits until another copy's poll of the source is over.
    fn wait<T>(&self, copy: u64, cx: &mut Context<'_>) -> Poll<Option<Result<T, BoxError>>> {
        let mut waker = Some(cx.waker().clone());
        let mut state = self.lock();
        if state.owner != copy {
            return Poll::Ready(Some(Err(Overtaken::new().into())));
        }
        let away = matches!(state.source, Source::Away);
        state.park(&mut waker);
        drop(state);
        if !away {
            // The poll ended in the meantime.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether `copy`, which was partly read, has no more frames to give.
    pub(crate) fn is_end_stream(&self, copy: u64) -> bool {
        let state = self.lock();
        state.owner == copy
            && state.read == state.buffer.end()
            && match &state.source {
                Source::Live { ended, .. } => *ended,
                Source::Away => false,
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

    /// Stores `waker`, and returns the replaced waker in its place: dropping that one may run any
    /// code.
    fn park(&mut self, waker: &mut Option<Waker>) {
        let known = match (&self.waker, &*waker) {
            (Some(parked), Some(waker)) => parked.will_wake(waker),
            _ => false,
        };
        if !known {
            std::mem::swap(&mut self.waker, waker);
        }
    }

    /// Records `data` that was just read from the source; at least `expected` more bytes are still
    /// to come. Returns whether `data` was kept.
    fn take_in(&mut self, data: &[u8], expected: u64) -> bool {
        let keep = self.keeping && self.buffer.has_room(data.len(), self.limit);
        if keep {
            let expected = expected.saturating_add(data.len() as u64);
            self.buffer.push(data, expected, self.limit);
        } else {
            self.keeping = false;
            self.buffer.release();
            self.buffer.skip(data.len());
        }
        keep
    }

    /// Records a frame of an unknown kind, which cannot be kept: it counts as one byte too many.
    fn pass_over(&mut self) {
        self.keeping = false;
        self.buffer.release();
        self.buffer.skip(1);
    }

    /// What happens to the source after its last frame.
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
