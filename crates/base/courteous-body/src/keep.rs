use std::fmt;

use bytes::Bytes;
use courteous_core::{BoxError, Upload};
use http_body::Body;

use crate::{Kept, NotReplayable, Replay, ReplayBody};

/// A way to keep bodies of type `B` for another attempt. A retry is generic over it.
///
/// Use [`Native`] for bodies that are [`Replay`] themselves, [`Via`] for bodies that can be made of
/// a [`ReplayBody`], and [`SendOnce`] for all other bodies.
#[diagnostic::on_unimplemented(
    message = "request bodies of type `{B}` cannot be kept for another attempt",
    note = "send `Full`, `Empty`, or any body put into an `AnyBody`",
    note = "for the body of another library, say how to make one of a `ReplayBody`: `RetryLayer::via(..)`"
)]
pub trait Keep<B> {
    /// The part that stays behind.
    type Kept;

    /// Makes `body` one that can be given again, and returns the part that stays behind.
    ///
    /// `limit` is the number of bytes that may be copied to memory. At zero, the body can be given
    /// again only if nothing of it was read.
    fn keep_in_place(&self, body: &mut B, limit: usize) -> Self::Kept;

    /// The same as [`keep_in_place`](Self::keep_in_place), by value. Returns the body to send in
    /// place of `body`, and the part that stays behind.
    fn keep(&self, mut body: B, limit: usize) -> (B, Self::Kept) {
        let kept = self.keep_in_place(&mut body, limit);
        (body, kept)
    }

    /// Whether the body could be given again now.
    ///
    /// # Errors
    ///
    /// The reason, if it cannot be given again.
    fn check(&self, kept: &Self::Kept) -> Result<(), NotReplayable>;

    /// Gives the body again. The earlier body cannot be read any more.
    ///
    /// # Errors
    ///
    /// The reason, if that is impossible. The earlier body is left as it is.
    fn again(&self, kept: &Self::Kept) -> Result<B, NotReplayable>;

    /// The upload state, to which the body and each later copy report the frames that the client
    /// has taken.
    ///
    /// `None`, the default, if nothing reports that.
    #[must_use]
    fn upload(&self, kept: &Self::Kept) -> Option<Upload> {
        let _ = kept;
        None
    }

    /// Makes `body` report which frames the client has taken, and keeps nothing of it.
    ///
    /// `None`, the default, if nothing reports that; `body` is then left as it is.
    fn watch_in_place(&self, body: &mut B) -> Option<Upload> {
        let _ = body;
        None
    }
}

/// Keeps the bodies that are [`Replay`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Native(());

impl Native {
    /// The only way to keep those bodies.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<B: Replay> Keep<B> for Native {
    type Kept = B::Kept;

    fn keep_in_place(&self, body: &mut B, limit: usize) -> B::Kept {
        body.keep_in_place(limit)
    }

    fn check(&self, kept: &B::Kept) -> Result<(), NotReplayable> {
        B::check(kept)
    }

    fn again(&self, kept: &B::Kept) -> Result<B, NotReplayable> {
        B::again(kept)
    }

    fn upload(&self, kept: &B::Kept) -> Option<Upload> {
        B::upload(kept)
    }

    fn watch_in_place(&self, body: &mut B) -> Option<Upload> {
        body.watch_in_place()
    }
}

/// Keeps the bodies that a function makes of a [`ReplayBody`].
///
/// ```
/// use bytes::Bytes;
/// use courteous_core::BoxError;
/// use courteous_body::{Keep, Via};
/// use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
///
/// type Body = UnsyncBoxBody<Bytes, BoxError>;
///
/// let keep = Via::new(Body::new);
/// let body: Body = Full::from("hello").map_err(Into::into).boxed_unsync();
/// let (first, kept) = keep.keep(body, 1024);
/// drop(first); // not sent after all
/// assert!(keep.again(&kept).is_ok());
/// ```
#[derive(Clone, Copy)]
pub struct Via<F> {
    wrap: F,
}

impl<F> Via<F> {
    /// Keeps bodies by `wrap`, which turns a `ReplayBody<B>` into a `B`.
    #[must_use]
    pub const fn new(wrap: F) -> Self {
        Self { wrap }
    }
}

impl<B, F> Keep<B> for Via<F>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    F: Fn(ReplayBody<B>) -> B,
{
    type Kept = Kept<B>;

    fn keep_in_place(&self, body: &mut B, limit: usize) -> Kept<B> {
        Kept::wrapping(body, limit, &self.wrap)
    }

    fn check(&self, kept: &Kept<B>) -> Result<(), NotReplayable> {
        kept.check()
    }

    fn again(&self, kept: &Kept<B>) -> Result<B, NotReplayable> {
        kept.again().map(&self.wrap)
    }

    fn upload(&self, kept: &Kept<B>) -> Option<Upload> {
        kept.upload()
    }

    fn watch_in_place(&self, body: &mut B) -> Option<Upload> {
        self.keep_in_place(body, 0).upload()
    }
}

impl<F> fmt::Debug for Via<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Via").finish_non_exhaustive()
    }
}

/// Keeps nothing: any body is sent as it is, and once.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOnce(());

impl SendOnce {
    /// The only way to keep nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<B> Keep<B> for SendOnce {
    type Kept = ();

    fn keep_in_place(&self, _body: &mut B, _limit: usize) {}

    fn check(&self, (): &()) -> Result<(), NotReplayable> {
        Err(NotReplayable::OneShot)
    }

    fn again(&self, (): &()) -> Result<B, NotReplayable> {
        Err(NotReplayable::OneShot)
    }
}
