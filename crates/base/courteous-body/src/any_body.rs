use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use courteous_core::{BoxError, Upload};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use crate::{Kept, NotReplayable, Replay};

/// A request body of any kind. Choose it if the client leaves the choice of body type.
///
/// If it is made of bytes, it is kept for another attempt by a clone that shares them, whatever its
/// size. If it is made of another body, the part that was read is kept, up to the limit.
/// [`AnyBodyLayer`](crate::AnyBodyLayer) puts the body of each request into an `AnyBody`.
///
/// `UnsyncBoxBody<Bytes, BoxError>` would also work, with one problem. A client whose type names
/// it, or names [`BoxError`] in another way, cannot be called in a spawned `async` block: the
/// compiler says that an "implementation of `From` is not general enough" (rust-lang/rust#110338).
/// With this type it can.
///
/// ```
/// use bytes::Bytes;
/// use courteous_body::AnyBody;
/// use http_body::Body;
/// use http_body_util::Full;
///
/// assert_eq!(AnyBody::from("hello").size_hint().exact(), Some(5));
/// assert!(AnyBody::default().is_end_stream());
/// let streaming = AnyBody::new(Full::new(Bytes::from("any other body")));
/// # let _ = streaming;
/// ```
pub struct AnyBody(Kind);

enum Kind {
    Bytes(Full<Bytes>),
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

impl AnyBody {
    /// Makes an `AnyBody` of `body`, and boxes it unless it is at its end.
    #[must_use]
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self(Kind::Boxed(body.map_err(Into::into).boxed_unsync()))
    }

    /// A body without content.
    #[must_use]
    pub fn empty() -> Self {
        Self::from(Bytes::new())
    }
}

impl Default for AnyBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for AnyBody {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Bytes(Full::new(bytes)))
    }
}

impl From<Vec<u8>> for AnyBody {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for AnyBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for AnyBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl Body for AnyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Bytes(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Kind::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Bytes(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Bytes(body) => body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

/// The part of an [`AnyBody`] that stays behind.
#[derive(Debug)]
pub struct KeptAnyBody(Keeping);

#[derive(Debug)]
enum Keeping {
    Bytes(Full<Bytes>),
    Boxed(Kept<UnsyncBoxBody<Bytes, BoxError>>),
}

impl Replay for AnyBody {
    type Kept = KeptAnyBody;

    fn keep_in_place(&mut self, limit: usize) -> KeptAnyBody {
        KeptAnyBody(match &mut self.0 {
            Kind::Bytes(body) => Keeping::Bytes(body.keep_in_place(limit)),
            Kind::Boxed(body) => Keeping::Boxed(body.keep_in_place(limit)),
        })
    }

    fn check(kept: &KeptAnyBody) -> Result<(), NotReplayable> {
        match &kept.0 {
            Keeping::Bytes(_) => Ok(()),
            Keeping::Boxed(kept) => kept.check(),
        }
    }

    fn again(kept: &KeptAnyBody) -> Result<Self, NotReplayable> {
        Ok(Self(match &kept.0 {
            Keeping::Bytes(kept) => Kind::Bytes(kept.clone()),
            Keeping::Boxed(kept) => Kind::Boxed(UnsyncBoxBody::again(kept)?),
        }))
    }

    fn upload(kept: &KeptAnyBody) -> Option<Upload> {
        match &kept.0 {
            Keeping::Bytes(_) => None,
            Keeping::Boxed(kept) => kept.upload(),
        }
    }

    fn watch_in_place(&mut self) -> Option<Upload> {
        match &mut self.0 {
            Kind::Bytes(_) => None,
            Kind::Boxed(body) => body.watch_in_place(),
        }
    }
}

impl fmt::Debug for AnyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyBody")
            .field("size_hint", &self.size_hint())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::block_on;

    use super::*;

    fn read(body: AnyBody) -> Bytes {
        block_on(body.collect()).unwrap().to_bytes()
    }

    #[test]
    fn bytes_are_given_again_without_a_limit_and_without_a_copy() {
        let bytes = Bytes::from(vec![7; 100]);
        let (first, kept) = AnyBody::from(bytes.clone()).keep(0);
        assert_eq!(read(first), bytes);
        let again = read(AnyBody::again(&kept).unwrap());
        assert_eq!((again.as_ptr(), again.len()), (bytes.as_ptr(), 100));
    }

    #[test]
    fn other_bodies_are_given_again_within_the_limit() {
        let body = || AnyBody::new(Full::new(Bytes::from_static(b"hello")));
        let (first, kept) = body().keep(5);
        assert_eq!(read(first), "hello");
        assert_eq!(read(AnyBody::again(&kept).unwrap()), "hello");

        let (first, kept) = body().keep(4);
        assert_eq!(read(first), "hello");
        assert_eq!(AnyBody::check(&kept), Err(NotReplayable::TooLarge));
        assert!(AnyBody::again(&kept).is_err());
    }

    #[test]
    fn an_empty_body_is_not_boxed() {
        let body = AnyBody::new(http_body_util::Empty::<Bytes>::new());
        assert!(matches!(body.0, Kind::Bytes(_)));
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(read(body).is_empty());
    }

    #[test]
    fn it_tells_its_length_and_its_end() {
        assert!(AnyBody::empty().is_end_stream());
        assert_eq!(
            AnyBody::from(String::from("four")).size_hint().exact(),
            Some(4)
        );
        let boxed = AnyBody::new(Full::new(Bytes::from_static(b"hello")));
        assert_eq!(boxed.size_hint().exact(), Some(5));
        assert!(!boxed.is_end_stream());
    }
}
