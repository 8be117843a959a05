use std::{
    future::ready,
    pin::Pin,
    task::{self, Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use courteous::{AnyBody, BoxError};
use futures_util::stream;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::time::{Interval, interval, sleep};

/// What a server does with a request.
pub(crate) enum Reply {
    /// The server answers.
    Send(Response<AnyBody>),
    /// The server closes the connection, or in HTTP/2 resets the stream.
    Close,
    /// HTTP/2: the server says that it has not looked at the request.
    RefuseStream,
    /// The server does nothing.
    Hang,
}

impl Reply {
    pub(crate) fn status(code: u16) -> Self {
        let response = Response::builder().status(code).body(AnyBody::empty());
        Self::Send(response.unwrap())
    }

    pub(crate) fn with_header(self, name: &'static str, value: &str) -> Self {
        self.map(|mut response| {
            response.headers_mut().insert(name, value.parse().unwrap());
            response
        })
    }

    pub(crate) fn with_body(self, bytes: impl Into<Bytes>) -> Self {
        let body = AnyBody::from(bytes.into());
        self.map(|response| response.map(|_| body))
    }

    /// With a body that arrives a moment after the head.
    pub(crate) fn with_late_body(self, bytes: &'static [u8]) -> Self {
        let late = async move {
            sleep(Duration::from_millis(1)).await;
            Ok::<_, BoxError>(Frame::data(Bytes::from_static(bytes)))
        };
        let body = AnyBody::new(StreamBody::new(stream::once(late)));
        self.map(|response| response.map(|_| body))
    }

    /// gRPC: one message, and the status OK.
    pub(crate) fn grpc_message(message: &'static [u8]) -> Self {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = [&[0], &length[..], message].concat();
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), 0.into())]);
        let body = Full::new(Bytes::from(frame)).with_trailers(ready(Some(Ok(trailers))));
        let body = AnyBody::new(body);
        Self::status(200)
            .with_header("content-type", "application/grpc")
            .map(|response| response.map(|_| body))
    }

    /// With a body that continues for ever, a byte at a time.
    pub(crate) fn with_drip(self) -> Self {
        let body = AnyBody::new(Drip(interval(Duration::from_millis(10))));
        self.map(|response| response.map(|_| body))
    }

    fn map(self, change: impl FnOnce(Response<AnyBody>) -> Response<AnyBody>) -> Self {
        match self {
            Self::Send(response) => Self::Send(change(response)),
            other => other,
        }
    }
}

struct Drip(Interval);

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        task::ready!(self.0.poll_tick(cx));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b".")))))
    }
}
