use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::RETRY_AFTER};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tower::{Service, service_fn};

/// How the first attempt of each call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Not at all.
    None,
    Unavailable,
    /// With a `Retry-After` of zero.
    WithHint,
    /// With a body of 1 KiB, which must be read so that the connection can be used again.
    WithBody,
    /// With an error, as if no server listened.
    Refused,
}

impl Failure {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unavailable => "503",
            Self::WithHint => "503 with `Retry-After`",
            Self::WithBody => "503 with a body of 1 KiB",
            Self::Refused => "connection refused",
        }
    }

    fn answer(self) -> io::Result<Response<Full<Bytes>>> {
        static PAGE: [u8; 1024] = [b' '; 1024];
        let mut response = Response::new(Full::default());
        match self {
            Self::None => return Ok(response),
            Self::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            Self::Unavailable => {}
            Self::WithHint => {
                let zero = HeaderValue::from_static("0");
                response.headers_mut().insert(RETRY_AFTER, zero);
            }
            Self::WithBody => *response.body_mut() = Full::from(&PAGE[..]),
        }
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Ok(response)
    }
}

/// What [`sick`] makes.
pub(super) trait Client<B>:
    Service<Request<B>, Response = Response<Full<Bytes>>, Error = io::Error, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<B, S> Client<B> for S where
    S: Service<Request<B>, Response = Response<Full<Bytes>>, Error = io::Error, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// A client of one call: it reads the request's body, fails at the first attempt, and answers at the second.
pub(super) fn sick<B>(failure: Failure) -> impl Client<B>
where
    B: Body<Data: Send, Error: Send> + Send + 'static,
{
    let failed = Arc::new(AtomicBool::new(false));
    service_fn(move |request: Request<B>| {
        let failed = Arc::clone(&failed);
        async move {
            let mut body = pin!(request.into_body());
            while let Some(frame) = body.frame().await {
                assert!(frame.is_ok(), "half a body");
            }
            match failed.swap(true, Ordering::Relaxed) {
                true => Failure::None.answer(),
                false => failure.answer(),
            }
        }
    })
}

/// A body of a given number of bytes that comes in pieces.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) left: usize,
}

/// The bytes of all bodies.
pub(super) static BYTES: [u8; 1 << 20] = [b'x'; 1 << 20];
const PIECE: usize = 16 << 10;

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = self.left.min(PIECE);
        self.left -= piece;
        // As from a connection: each piece has its own bytes.
        let piece = Bytes::copy_from_slice(&BYTES[..piece]);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
