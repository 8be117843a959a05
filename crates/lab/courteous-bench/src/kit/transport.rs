use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body_util::Empty;
use tower::Service;

use super::Request;

/// The innermost service of all contenders: it costs almost nothing, and is the baseline.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    /// Whether each response is pending once, so that every layer with a timer registers it.
    pub(crate) pending: bool,
}

/// The response of a [`Transport`].
#[derive(Debug)]
pub(crate) struct Answer {
    pending: bool,
}

impl Service<Request> for Transport {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, request: Request) -> Answer {
        // The request must really have been made.
        std::hint::black_box(&request);
        Answer {
            pending: self.pending,
        }
    }
}

impl Future for Answer {
    type Output = Result<Response<Empty<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.pending {
            self.pending = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(Response::new(Empty::new())))
    }
}
