use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use courteous_body::AnyBody;
use courteous_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{box_body::BoxBody, sending::Sending};
use crate::Error;

/// A client whose type names only the body of its requests: for a field, and for tests.
///
/// [`Courteous::boxed`](crate::Courteous::boxed) makes one of a client, [`new`](Self::new) of any other service, and
/// [`from_fn`](Self::from_fn) of a closure, as a mock.
///
/// ```
/// use courteous::{AnyBody, BoxClient, Error};
/// use http::{Request, Response};
/// use http_body_util::BodyExt;
///
/// struct Weather {
///     client: BoxClient, // the same as `BoxClient<AnyBody>`
/// }
///
/// impl Weather {
///     async fn report(&self, city: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
///         let url = format!("http://weather.example/{city}");
///         let request = Request::get(url).body(AnyBody::empty())?;
///         let response = self.client.send(request).await?;
///         Ok(response.into_body().collect().await?.to_bytes().into())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // In a test:
/// let client = BoxClient::from_fn(async |request: Request<AnyBody>| {
///     assert_eq!(request.uri().path(), "/Oslo");
///     Ok::<_, Error>(Response::new("snow".to_owned()))
/// });
/// assert_eq!(Weather { client }.report("Oslo").await?, b"snow");
/// # Ok(())
/// # }
/// ```
///
/// A pointer and its table in size. Each call allocates twice more than the service does: for its future, and for the
/// body of its response.
///
/// # Sharing
///
/// Clones share one service. Each call clones it, and readies its own clone.
///
/// The service cannot be had back. To read the limits of a [`Courteous`](crate::Courteous) client, or to close it, keep a
/// clone of it, or its [`closer`](crate::Courteous::closer).
///
/// # Readiness
///
/// Always ready: the call waits for the service's readiness.
///
/// # Errors
///
/// An [`Error`], for which [`Error::new`] takes the service's own, in the call and in the response's body.
pub struct BoxClient<B = AnyBody> {
    service: Arc<dyn SendBoxed<B>>,
}

type BoxFuture = Pin<Box<dyn Future<Output = Result<Response<BoxBody>, Error>> + Send>>;

impl<B: 'static> BoxClient<B> {
    /// A client that calls clones of `service`.
    pub fn new<S, RB>(service: S) -> Self
    where
        S: Service<Request<B>, Response = Response<RB>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Send,
        RB: Body<Data = Bytes> + Send + 'static,
        RB::Error: Into<BoxError>,
    {
        Self {
            service: Arc::new(Cloned(service)),
        }
    }

    /// A client that answers by calling `answer`: a mock, for one.
    pub fn from_fn<A, F, RB, E>(answer: A) -> Self
    where
        A: Fn(Request<B>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response<RB>, E>> + Send + 'static,
        RB: Body<Data = Bytes> + Send + 'static,
        RB::Error: Into<BoxError>,
        E: Into<BoxError> + 'static,
    {
        Self {
            service: Arc::new(Answering(answer)),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// [`Error`], if the call failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the call. What the call held is given back by the service.
    pub fn send(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<BoxBody>, Error>> + Send + use<B> {
        self.service.send_boxed(request)
    }
}

impl<B> Clone for BoxClient<B> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
        }
    }
}

impl<B> fmt::Debug for BoxClient<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxClient").finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for BoxClient<B> {
    type Response = Response<BoxBody>;
    type Error = Error;
    type Future = BoxFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.service.send_boxed(request)
    }
}

trait SendBoxed<B>: Send + Sync {
    fn send_boxed(&self, request: Request<B>) -> BoxFuture;
}

struct Cloned<S>(S);

impl<S, B, RB> SendBoxed<B> for Cloned<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
    RB: Body<Data = Bytes> + Send + 'static,
    RB::Error: Into<BoxError>,
{
    fn send_boxed(&self, request: Request<B>) -> BoxFuture {
        let call = Sending::new(self.0.clone(), request);
        Box::pin(Boxing { call })
    }
}

struct Answering<A>(A);

impl<A, B, F, RB, E> SendBoxed<B> for Answering<A>
where
    A: Fn(Request<B>) -> F + Send + Sync,
    F: Future<Output = Result<Response<RB>, E>> + Send + 'static,
    RB: Body<Data = Bytes> + Send + 'static,
    RB::Error: Into<BoxError>,
    E: Into<BoxError> + 'static,
{
    fn send_boxed(&self, request: Request<B>) -> BoxFuture {
        let call = self.0(request);
        Box::pin(Boxing { call })
    }
}

pin_project! {
    /// Boxes the body of the response of `call`.
    struct Boxing<F> {
        #[pin]
        call: F,
    }
}

impl<F, RB, E> Future for Boxing<F>
where
    F: Future<Output = Result<Response<RB>, E>>,
    RB: Body<Data = Bytes> + Send + 'static,
    RB::Error: Into<BoxError>,
    E: Into<BoxError>,
{
    type Output = Result<Response<BoxBody>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().call.poll(cx)).map_err(Error::new)?;
        Poll::Ready(Ok(response.map(BoxBody::new)))
    }
}
