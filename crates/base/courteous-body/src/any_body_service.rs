use std::task::{Context, Poll};

use bytes::Bytes;
use courteous_core::BoxError;
use http::Request;
use http_body::Body;
use tower_service::Service;

use crate::AnyBody;

/// Puts the body of each request into an [`AnyBody`]. [`AnyBodyLayer`](crate::AnyBodyLayer) makes
/// this service.
///
/// The body's frames, trailers, announced length and error pass through unchanged. So do the rest
/// of the request, the response and the client's errors. An empty body costs no allocation; any
/// other body is boxed.
///
/// A retry inside keeps what was read of the body, up to its limit (64 KiB by default). This also
/// holds for a body that the caller has in memory, as its type does not show that.
///
/// ```
/// use bytes::Bytes;
/// use courteous_body::{AnyBody, AnyBodyLayer};
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Empty, Full};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = service_fn(async |request: Request<AnyBody>| {
///     Ok::<_, std::io::Error>(Response::new(request.into_body()))
/// });
/// let client = AnyBodyLayer::new().layer(client);
///
/// let response = client.oneshot(Request::new(Full::new(Bytes::from("hello")))).await?;
/// assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
/// let response = client.oneshot(Request::new(Empty::new())).await?;
/// assert!(response.into_body().collect().await?.to_bytes().is_empty());
/// # Ok(())
/// # }
/// ```
///
/// # Readiness
///
/// The inner service's: this service reserves nothing.
#[derive(Clone, Copy, Debug)]
pub struct AnyBodyService<S> {
    inner: S,
}

impl<S> AnyBodyService<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner }
    }

    /// The inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Unwraps the inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B> Service<Request<B>> for AnyBodyService<S>
where
    S: Service<Request<AnyBody>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.inner.call(request.map(AnyBody::new))
    }
}

#[cfg(feature = "load")]
impl<S: tower::load::Load> tower::load::Load for AnyBodyService<S> {
    type Metric = S::Metric;

    fn load(&self) -> S::Metric {
        self.inner.load()
    }
}
