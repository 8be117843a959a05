use std::task::{Context, Poll};

use courteous_core::Classified;
use http::{Request, Response};
use reqwest::{Body, Client};
use tower_service::Service;

use crate::{ResponseFuture, future::OwnTimeout, request::OwnClient};

/// A [`reqwest::Client`] as a service of `http` requests: the innermost of a stack.
///
/// The request's URI must be absolute. Its extensions do not reach the connection. The body is reqwest's own, so that
/// nothing has to be spelled out where a request is built: `Request::builder().uri(..).body("text".into())` will do, and
/// [`Body::wrap`] makes one of any other body.
///
/// A request that [`SendThrough`](crate::SendThrough) sends is sent by its builder's own client, and one of a
/// middleware's by that middleware's `ClientWithMiddleware`.
///
/// The response's body is reqwest's as well, and its extensions hold the final URL, so that [`reqwest::Response::from`]
/// turns it back into a response with `json()` and `text()`.
///
/// # Readiness
///
/// Always ready: reqwest opens as many connections as are asked for. Put a concurrency limit outside.
///
/// # Sharing
///
/// Clones share the client, and so its pool of connections.
///
/// # Cancel safety
///
/// Dropping the response future abandons the request, which may have been sent.
///
/// # Errors
///
/// [`Classified`], around reqwest's own error. But if the timeout has passed that the request itself brings, set by
/// `RequestBuilder::timeout`: around an [`Elapsed`](courteous_core::Elapsed) of the whole call, which a retry does not begin
/// again. [`into_http`](crate::into_http) makes such a timeout the call's from the start.
///
/// [`Classified`]: courteous_core::Classified
#[derive(Clone, Debug, Default)]
pub struct ReqwestService {
    client: Client,
}

impl ReqwestService {
    /// Sends with `client`. See the crate's page for how to configure one.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client.
    #[must_use]
    pub const fn get_ref(&self) -> &Client {
        &self.client
    }

    /// The client.
    #[must_use]
    pub fn into_inner(self) -> Client {
        self.client
    }
}

impl From<Client> for ReqwestService {
    fn from(client: Client) -> Self {
        Self::new(client)
    }
}

impl Service<Request<Body>> for ReqwestService {
    type Response = Response<Body>;
    type Error = Classified;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Classified>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> ResponseFuture {
        let own_client: Option<OwnClient> = request.extensions_mut().remove();
        #[cfg(feature = "reqwest-middleware")]
        let relay: Option<crate::relay::Relay> = request.extensions_mut().remove();
        match reqwest::Request::try_from(request) {
            Ok(request) => {
                let own_timeout = OwnTimeout::of(&request);
                #[cfg(feature = "reqwest-middleware")]
                if let Some(relay) = relay {
                    return ResponseFuture::relayed(relay.attempt(request), own_timeout);
                }
                let mut client = own_client.as_ref().map_or(&self.client, |own| &own.0);
                ResponseFuture::sent(client.call(request), own_timeout)
            }
            Err(error) => ResponseFuture::failed(error),
        }
    }
}
