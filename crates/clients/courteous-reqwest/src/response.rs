use std::{
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use courteous_core::{BoxError, RetryInfo};
use http::Response;
use http_body::{Body, Frame, SizeHint};

/// Converts the response of a stack around a [`ReqwestService`](crate::ReqwestService) for reqwest's methods, such as `json()`.
///
/// The final URL, the extensions and the length stay. The body may be one that is not `Sync`. What the stack holds until the
/// end of the body, it holds until the end of the response's.
///
/// ```
/// use http::Response;
///
/// let response = Response::builder().status(201).body(reqwest::Body::from("done"))?;
/// assert_eq!(courteous_reqwest::into_reqwest(response).content_length(), Some(4));
/// # Ok::<_, http::Error>(())
/// ```
pub fn into_reqwest<B>(response: Response<B>) -> reqwest::Response
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let body = |body| reqwest::Body::wrap(Unshared::new(body));
    reqwest::Response::from(response.map(body))
}

/// Reads what a retry did from a response of reqwest's.
///
/// ```
/// use courteous_reqwest::ReadRetryInfo;
///
/// let response = reqwest::Response::from(http::Response::new("the first answer"));
/// assert_eq!(response.retry_info().attempts(), 1);
/// ```
pub trait ReadRetryInfo {
    /// What the retry did to get this response: the attempts, the waits, and why there was no further attempt.
    ///
    /// Where no retry was, or it had no work, this is one attempt that was answered.
    fn retry_info(&self) -> RetryInfo;
}

impl ReadRetryInfo for reqwest::Response {
    fn retry_info(&self) -> RetryInfo {
        RetryInfo::in_extensions(self.extensions())
    }
}

/// A body that is `Sync`, as reqwest asks for, though `B` is not: it is read through `&mut` alone, so nothing locks.
struct Unshared<B> {
    body: Mutex<Pin<Box<B>>>,
    is_end_stream: bool,
    size_hint: SizeHint,
}

impl<B: Body> Unshared<B> {
    fn new(body: B) -> Self {
        Self {
            is_end_stream: body.is_end_stream(),
            size_hint: body.size_hint(),
            body: Mutex::new(Box::pin(body)),
        }
    }
}

impl<B: Body> Body for Unshared<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = &mut *self;
        let body = match this.body.get_mut() {
            Ok(body) => body,
            Err(poisoned) => poisoned.into_inner(), // of no lock: none is taken
        };
        let frame = ready!(body.as_mut().poll_frame(cx));
        this.is_end_stream = body.is_end_stream();
        this.size_hint = body.size_hint();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_end_stream
    }

    fn size_hint(&self) -> SizeHint {
        #[expect(clippy::clone_on_copy, reason = "older versions of it are not `Copy`")]
        self.size_hint.clone()
    }
}
