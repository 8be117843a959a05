//! A body that no one here knows, kept by a function, around a client that is neither `Send` nor `'static`.

use std::{
    cell::Cell,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use courteous::{BoxError, body::ReplayBody, retry::RetryLayer};
use http::{Request, Response};
use http_body::Frame;
use tower::{Layer, ServiceExt};

enum Upload {
    Nothing,
    Again(Box<ReplayBody<Upload>>),
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Nothing => Poll::Ready(None),
            Self::Again(body) => Pin::new(&mut **body).poll_frame(cx),
        }
    }
}

fn main() {
    let calls = Cell::new(0);
    let client = tower::service_fn(|request: Request<Upload>| {
        calls.set(calls.get() + 1);
        async { Ok::<_, Infallible>(Response::new(request.into_body())) }
    });
    let client = RetryLayer::new()
        .via(|body| Upload::Again(Box::new(body)))
        .layer(client);
    let _ = client.oneshot(Request::new(Upload::Nothing));
}
