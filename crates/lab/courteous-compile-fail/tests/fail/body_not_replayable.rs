use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;

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
    courteous::check::<Upload, _>(client);
}
