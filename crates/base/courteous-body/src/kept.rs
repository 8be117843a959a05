use std::{fmt, mem, sync::Arc};

use bytes::Bytes;
use courteous_core::{BoxError, Upload};
use http_body::Body;

use crate::{NotReplayable, Replay, ReplayBody, hint::Hint, shared::Shared};

/// The half of a [`ReplayBody`] that stays behind and makes the next attempt's body.
///
/// Dropping it releases what was kept, except what the newest body must still give.
pub struct Kept<B> {
    /// `None` if there was nothing to keep.
    shared: Option<Arc<Shared<B>>>,
    start: u64,
    hint: Hint,
}

impl<B> Kept<B> {
    /// Keeps what is read of `shared` from now on, if its reader is at the offset `start`.
    pub(crate) fn new(
        shared: Option<Arc<Shared<B>>>,
        start: u64,
        limit: usize,
        hint: Hint,
    ) -> Self {
        if let Some(shared) = &shared {
            shared.keep(limit);
        }
        Self {
            shared,
            start,
            hint,
        }
    }

    /// Replaces `body` by what `wrap` makes of a [`ReplayBody`] over it, and keeps what is read of
    /// it.
    pub(crate) fn wrapping(body: &mut B, limit: usize, wrap: impl Fn(ReplayBody<B>) -> B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let hint = Hint::of(&body.size_hint());
        if body.is_end_stream() {
            return Self::new(None, 0, limit, hint);
        }
        // The wrapper is made first, without its source, as there is nothing else to leave in the
        // source's place.
        let shared = Arc::new(Shared::new(None));
        let wrapper = wrap(ReplayBody::copy(Some(Arc::clone(&shared)), 0, 0, hint));
        shared.fill(mem::replace(body, wrapper));
        Self::new(Some(shared), 0, limit, hint)
    }

    /// Whether the body could be given again now.
    ///
    /// The answer may change a moment later: an earlier copy can still be read, and exceed the
    /// limit. Only [`again`](Self::again) is certain.
    ///
    /// # Errors
    ///
    /// The reason, if it cannot be given again.
    pub fn check(&self) -> Result<(), NotReplayable> {
        match &self.shared {
            Some(shared) => shared.check(self.start),
            None => Ok(()),
        }
    }

    /// How many bytes are held in memory now; trailers are not counted here.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.kept_bytes())
    }

    /// The upload state, to which all copies of the body report. `None` for a body without content.
    ///
    /// A body reports only once this was called. The first call allocates.
    #[must_use]
    pub fn upload(&self) -> Option<Upload> {
        self.shared.as_ref().map(|shared| shared.upload())
    }

    /// Gives the body again, from where it was kept, and so overtakes all its earlier copies.
    ///
    /// # Errors
    ///
    /// The reason, if that is impossible. The earlier copies are left as they are.
    pub fn again(&self) -> Result<ReplayBody<B>, NotReplayable> {
        let copy = match &self.shared {
            Some(shared) => shared.take_over(self.start)?,
            None => 0,
        };
        Ok(ReplayBody::copy(
            self.shared.clone(),
            copy,
            self.start,
            self.hint,
        ))
    }
}

impl<B: Body<Data = Bytes>> Replay for ReplayBody<B>
where
    B::Error: Into<BoxError>,
{
    type Kept = Kept<B>;

    fn keep_in_place(&mut self, limit: usize) -> Kept<B> {
        let (shared, offset, hint) = self.rest();
        Kept::new(shared, offset, limit, hint)
    }

    fn check(kept: &Kept<B>) -> Result<(), NotReplayable> {
        kept.check()
    }

    fn again(kept: &Kept<B>) -> Result<Self, NotReplayable> {
        kept.again()
    }

    fn upload(kept: &Kept<B>) -> Option<Upload> {
        kept.upload()
    }
}

impl<B> Drop for Kept<B> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.forget();
        }
    }
}

impl<B> fmt::Debug for Kept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}
