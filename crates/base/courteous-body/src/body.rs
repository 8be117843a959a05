use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use courteous_core::BoxError;
use http_body::{Body, Frame, SizeHint};

use crate::{hint::Hint, shared::Shared};

/// A body that streams through and can be given again.
///
/// Until it is [kept](crate::Replay::keep) it only passes on the frames of its source. From then on
/// a copy of what is read is held in memory, up to the limit.
/// [`Kept::again`](crate::Kept::again) makes a new body that first gives the held bytes, and then
/// continues with the source where the previous body stopped.
///
/// It is `Unpin` whatever its source is, and `Sync` if its source is `Send`.
///
/// # One reader
///
/// Of all bodies over one source, only the newest can be read. An older body fails with
/// [`Overtaken`](crate::Overtaken) when it is polled, and if its task waits, the task is woken.
///
/// # Length
///
/// The [`size_hint`](Body::size_hint) of every copy is the hint that the source had when it was
/// wrapped, less what this copy has given. The same holds for
/// [`is_end_stream`](Body::is_end_stream) until the copy is first polled. So each attempt is framed
/// alike, with the same `Content-Length` or none.
///
/// # Errors
///
/// An error of the source passes through unchanged. After it, the body is not given again.
pub struct ReplayBody<B> {
    /// `None` after the last frame.
    shared: Option<Arc<Shared<B>>>,
    copy: u64,
    /// The offset in the source from which this copy gives next.
    offset: u64,
    polled: bool,
    hint: Hint,
}

impl<B: Body> ReplayBody<B> {
    /// Wraps `source`.
    #[must_use]
    pub fn new(source: B) -> Self {
        Self {
            hint: Hint::of(&source.size_hint()),
            shared: (!source.is_end_stream()).then(|| Arc::new(Shared::new(Some(source)))),
            copy: 0,
            offset: 0,
            polled: false,
        }
    }
}

impl<B> ReplayBody<B> {
    /// The copy with number `copy`, which begins at `offset`.
    pub(crate) const fn copy(
        shared: Option<Arc<Shared<B>>>,
        copy: u64,
        offset: u64,
        hint: Hint,
    ) -> Self {
        Self {
            shared,
            copy,
            offset,
            polled: false,
            hint,
        }
    }

    /// The source, the offset of what this copy gives next, and its length.
    pub(crate) fn rest(&self) -> (Option<Arc<Shared<B>>>, u64, Hint) {
        (self.shared.clone(), self.offset, self.hint)
    }

    fn advance(&mut self, len: u64) {
        self.offset += len;
        self.hint = self.hint.after(len);
    }
}

impl<B: Body<Data = Bytes>> Body for ReplayBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(shared) = &this.shared else {
            return Poll::Ready(None);
        };
        this.polled = true;
        let frame = ready!(shared.poll_frame(this.copy, cx));
        let ended = match &frame {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) => false,
            None => true,
        };
        if ended {
            this.shared = None;
            this.hint = Hint::EMPTY;
        } else if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.advance(data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.shared {
            None => true,
            Some(shared) => self.polled && shared.is_end_stream(self.copy),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.hint.into()
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody")
            .field("copy", &self.copy)
            .field("ended", &self.shared.is_none())
            .finish_non_exhaustive()
    }
}
