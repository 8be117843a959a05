use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use courteous::BoxError;
use http::Response;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::{Interval, interval};

use super::Body;

/// What a server does with a request.
pub(crate) enum Reply {
    /// It answers.
    Send(Response<Body>),
    /// It closes the connection, or in HTTP/2 resets the stream.
    Close,
    /// HTTP/2: it says that it has not looked at the request.
    RefuseStream,
    /// Nothing.
    Hang,
}

impl Reply {
    pub(crate) fn status(code: u16) -> Self {
        let body = Empty::new().map_err(no_error).boxed_unsync();
        Self::Send(Response::builder().status(code).body(body).unwrap())
    }

    pub(crate) fn with_header(self, name: &'static str, value: &str) -> Self {
        self.map(|mut response| {
            response.headers_mut().insert(name, value.parse().unwrap());
            response
        })
    }

    pub(crate) fn with_body(self, bytes: impl Into<Bytes>) -> Self {
        let body = Full::new(bytes.into()).map_err(no_error).boxed_unsync();
        self.map(|response| response.map(|_| body))
    }

    /// With a body that goes on for ever, a byte at a time.
    pub(crate) fn with_drip(self) -> Self {
        let body = Drip(interval(Duration::from_millis(10))).boxed_unsync();
        self.map(|response| response.map(|_| body))
    }

    fn map(self, change: impl FnOnce(Response<Body>) -> Response<Body>) -> Self {
        match self {
            Self::Send(response) => Self::Send(change(response)),
            other => other,
        }
    }
}

fn no_error(never: Infallible) -> BoxError {
    match never {}
}

struct Drip(Interval);

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        ready!(self.0.poll_tick(cx));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b".")))))
    }
}
