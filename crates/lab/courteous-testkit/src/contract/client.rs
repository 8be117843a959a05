use bytes::Bytes;
use courteous_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower_service::Service;

/// A layer around a [`Probe`](crate::Probe), as the contract needs it. Every fitting service is one.
pub trait Client:
    Clone
    + Service<
        Request<Full<Bytes>>,
        Response = Response<Self::Body>,
        Error = Self::Failure,
        Future = Self::Call,
    >
{
    /// The response's body.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Unpin;
    /// The service's error.
    type Failure: Into<BoxError>;
    /// The response future.
    type Call: Future<Output = Result<Response<Self::Body>, Self::Failure>>;
}

impl<S, B> Client for S
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Body = B;
    type Failure = S::Error;
    type Call = S::Future;
}
