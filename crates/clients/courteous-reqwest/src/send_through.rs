use std::future::poll_fn;

use bytes::Bytes;
use courteous_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use reqwest::RequestBuilder;
use tower_service::Service;

use crate::{into_http, into_reqwest, request::OwnClient};

/// Sends a request that was built with reqwest through a stack: `send_through(&stack)` in place of `send()`.
pub trait SendThrough {
    /// Sends the request through `service`, mostly a stack around a [`ReqwestService`](crate::ReqwestService).
    ///
    /// It is the builder's *own* client that sends each attempt, with its cookies, proxies, redirects and default headers, and
    /// not the client of that `ReqwestService`. The request's own timeout (`RequestBuilder::timeout`) bounds the whole call, as
    /// [`into_http`] has it. A timeout of the client (`ClientBuilder::timeout`, `read_timeout`) cannot be read: it stays that of
    /// each attempt.
    ///
    /// A body that streams, a multipart form among them, is repeated if it is within the retry's limit for bodies, 64 KiB by
    /// default. Else the call ends with the first attempt, for `StopReason::BodyNotReplayable`. reqwest does not follow a 307 or
    /// 308 with such a body: then that response is returned. Redirects that reqwest follows are requests that no layer sees.
    ///
    /// [`ReadRetryInfo`](crate::ReadRetryInfo) reads from the response what the retry did.
    ///
    /// The service is cloned, and the future borrows nothing, so that it can be spawned. The call begins when the future is
    /// first polled.
    ///
    /// ```
    /// use courteous_reqwest::{ReqwestService, SendThrough};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let client = reqwest::Client::new();
    /// // In an application: a stack around it, and the error is `courteous::Error`.
    /// let service = tower::util::MapErr::new(ReqwestService::default(), Box::<dyn std::error::Error + Send + Sync>::from);
    /// let result = client.get("not a URL").send_through(&service).await;
    /// assert!(result.unwrap_err().downcast::<reqwest::Error>().unwrap().is_builder());
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The service's. If the request cannot be built, made of reqwest's error; nothing is sent then. A response is returned as it
    /// is, whatever its status.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or later the response, ends the call. The request may have been sent.
    fn send_through<S, B>(
        self,
        service: &S,
    ) -> impl Future<Output = Result<reqwest::Response, S::Error>> + Send + use<Self, S, B>
    where
        S: Service<Request<reqwest::Body>, Response = Response<B>> + Clone + Send,
        S::Error: From<reqwest::Error> + Send,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>;
}

impl SendThrough for RequestBuilder {
    fn send_through<S, B>(
        self,
        service: &S,
    ) -> impl Future<Output = Result<reqwest::Response, S::Error>> + Send + use<S, B>
    where
        S: Service<Request<reqwest::Body>, Response = Response<B>> + Clone + Send,
        S::Error: From<reqwest::Error> + Send,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut service = service.clone();
        let (client, request) = self.build_split();
        async move {
            let mut request = into_http(request?)?;
            request.extensions_mut().insert(OwnClient(client));
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request).await.map(into_reqwest)
        }
    }
}
