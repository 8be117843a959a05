use courteous_body::Replay;
use courteous_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

/// Says at compile time, in plain words, what keeps a service from standing under courteous layers.
///
/// A stack that lacks something does not compile where it is *used*, with an error about `ready` or `oneshot` that
/// does not name what is missing. Put the service through this function, and the compiler names it. `B` is the type of
/// the requests' bodies.
///
/// ```
/// use courteous::check;
/// use http::{Request, Response};
/// use http_body_util::Full;
///
/// let client = tower::service_fn(async |request: Request<Full<&'static [u8]>>| {
///     Ok::<_, std::io::Error>(Response::new(request.into_body()))
/// });
/// let client = check::<Full<&[u8]>, _>(client); // the same client
/// # let _ = client;
/// ```
pub fn check<B, S>(service: S) -> S
where
    B: Replay,
    S: HttpService<B, Error: ServiceError> + CloneService,
{
    service
}

/// A service of HTTP requests with bodies of type `B`: implemented for all that are one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no service of `http::Request<{B}>` that courteous layers can stand on",
    label = "not a `Service<http::Request<{B}>>` with an `http::Response<_>`",
    note = "its request must be `http::Request<{B}>`, with just that type of body",
    note = "a reqwest client becomes such a service, of `reqwest::Body`, by `courteous::reqwest::ReqwestService`",
    note = "its response must be `http::Response<_>` with a body that is an `http_body::Body`"
)]
pub trait HttpService<B> {
    /// The service's error.
    type Error;
}

#[diagnostic::do_not_recommend]
impl<S, B, RB> HttpService<B> for S
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Body,
{
    type Error = S::Error;
}

/// An error that layers can wrap: implemented for all that can be boxed.
#[diagnostic::on_unimplemented(
    message = "errors of type `{Self}` cannot be wrapped by courteous layers",
    label = "the service's error is no `std::error::Error`",
    note = "implement `std::error::Error + Send + Sync + 'static` for it, or turn it into another one with `.map_err(..)`"
)]
pub trait ServiceError {}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> ServiceError for E {}

/// A service that can be cloned: implemented for all that can.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be cloned, and courteous layers need a clone where a call waits or is made again",
    label = "not `Clone`",
    note = "derive `Clone` for it, or put `tower::buffer::Buffer` around it"
)]
pub trait CloneService {}

impl<S: Clone> CloneService for S {}
