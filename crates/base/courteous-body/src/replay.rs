use bytes::Buf;
use courteous_core::Upload;
use http_body::Body;
use http_body_util::{Either, Empty, Full};

use crate::NotReplayable;

/// A body that can be given again.
///
/// Its type stays the same, so that a client made for that type needs no other.
///
/// | body | what is kept |
/// |---|---|
/// | `Empty`, `Full`, `String` | a clone: it is in memory anyway, so the limit does not count |
/// | [`AnyBody`](crate::AnyBody) | a clone if it was made of bytes; else what was read, up to the limit |
/// | `BoxBody`, `UnsyncBoxBody` of `Bytes` and [`BoxError`](courteous_core::BoxError) | what was read, up to the limit |
/// | [`ReplayBody`](crate::ReplayBody) | what was read, up to the limit |
/// | `Either` | what its side keeps |
/// | axum's and tonic's `Body` (features `axum`, `tonic`) | what was read, up to the limit |
/// | reqwest's `Body` (feature `reqwest`) | a clone if it was made of bytes; else what was read, up to the limit |
#[diagnostic::on_unimplemented(
    message = "request bodies of type `{Self}` cannot be kept for another attempt",
    note = "send `Full`, `Empty`, or any body put into an `AnyBody`",
    note = "axum's, tonic's and reqwest's bodies need the feature `axum`, `tonic` or `reqwest`",
    note = "for the body of another library, say how to make one of a `ReplayBody`: `RetryLayer::via(..)`"
)]
pub trait Replay: Body + Sized {
    /// The part that stays behind.
    type Kept;

    /// Makes this body one that can be given again, and returns the part that stays behind.
    ///
    /// `limit` is the number of bytes that may be copied to memory. At zero, the body can be given
    /// again only if nothing of it was read.
    fn keep_in_place(&mut self, limit: usize) -> Self::Kept;

    /// The same as [`keep_in_place`](Self::keep_in_place), by value. Returns the body to send in
    /// place of this one, and the part that stays behind.
    fn keep(mut self, limit: usize) -> (Self, Self::Kept) {
        let kept = self.keep_in_place(limit);
        (self, kept)
    }

    /// Whether the body could be given again now. The answer may change a moment later, as an
    /// earlier copy may still be read.
    ///
    /// # Errors
    ///
    /// The reason, if it cannot be given again.
    fn check(kept: &Self::Kept) -> Result<(), NotReplayable>;

    /// Gives the body again. The earlier body cannot be read any more.
    ///
    /// # Errors
    ///
    /// The reason, if that is impossible. The earlier body is left as it is.
    fn again(kept: &Self::Kept) -> Result<Self, NotReplayable>;

    /// The upload state, to which the body and each later copy report the frames that the client
    /// has taken.
    ///
    /// `None`, the default, if nothing reports that, as for a body in memory: the client takes it
    /// in one frame.
    #[must_use]
    fn upload(kept: &Self::Kept) -> Option<Upload> {
        let _ = kept;
        None
    }

    /// Makes this body report which frames the client has taken, and keeps nothing of it.
    ///
    /// `None` if nothing reports that, as for a body in memory, which is left as it is.
    fn watch_in_place(&mut self) -> Option<Upload> {
        Self::upload(&self.keep_in_place(0))
    }
}

impl<D: Buf + Clone> Replay for Full<D> {
    type Kept = Self;

    fn keep_in_place(&mut self, _limit: usize) -> Self {
        self.clone()
    }

    fn check(_kept: &Self) -> Result<(), NotReplayable> {
        Ok(())
    }

    fn again(kept: &Self) -> Result<Self, NotReplayable> {
        Ok(kept.clone())
    }

    fn watch_in_place(&mut self) -> Option<Upload> {
        None
    }
}

impl<D: Buf> Replay for Empty<D> {
    type Kept = ();

    fn keep_in_place(&mut self, _limit: usize) {}

    fn check((): &()) -> Result<(), NotReplayable> {
        Ok(())
    }

    fn again((): &()) -> Result<Self, NotReplayable> {
        Ok(Self::new())
    }
}

impl Replay for String {
    type Kept = Self;

    fn keep_in_place(&mut self, _limit: usize) -> Self {
        self.clone()
    }

    fn check(_kept: &Self) -> Result<(), NotReplayable> {
        Ok(())
    }

    fn again(kept: &Self) -> Result<Self, NotReplayable> {
        Ok(kept.clone())
    }

    fn watch_in_place(&mut self) -> Option<Upload> {
        None
    }
}

impl<L, R> Replay for Either<L, R>
where
    L: Replay,
    R: Replay<Data = L::Data>,
    Self: Body,
{
    type Kept = Either<L::Kept, R::Kept>;

    fn keep_in_place(&mut self, limit: usize) -> Self::Kept {
        match self {
            Self::Left(body) => Either::Left(body.keep_in_place(limit)),
            Self::Right(body) => Either::Right(body.keep_in_place(limit)),
        }
    }

    fn check(kept: &Self::Kept) -> Result<(), NotReplayable> {
        match kept {
            Either::Left(kept) => L::check(kept),
            Either::Right(kept) => R::check(kept),
        }
    }

    fn again(kept: &Self::Kept) -> Result<Self, NotReplayable> {
        match kept {
            Either::Left(kept) => L::again(kept).map(Self::Left),
            Either::Right(kept) => R::again(kept).map(Self::Right),
        }
    }

    fn upload(kept: &Self::Kept) -> Option<Upload> {
        match kept {
            Either::Left(kept) => L::upload(kept),
            Either::Right(kept) => R::upload(kept),
        }
    }

    fn watch_in_place(&mut self) -> Option<Upload> {
        match self {
            Self::Left(body) => body.watch_in_place(),
            Self::Right(body) => body.watch_in_place(),
        }
    }
}
