use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use courteous::retry::RetryLayer;
use http::{Request, Response};
use http_body::Frame;
use tower::{Layer, Service};

/// The body of some library.
struct Upload;

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

fn main() {
    let client = tower::service_fn(async |request: Request<Upload>| {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    send(RetryLayer::new().layer(client));
}

fn send<S: Service<Request<Upload>>>(_: S) {}
