use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use courteous_core::BoxError;
use http::{Extensions, Request, Response};
use http_body::Body;
use reqwest_middleware::{Error, Middleware, Next, Result};
use tokio::sync::oneshot;
use tower_service::Service;

use crate::{
    into_http, into_reqwest,
    relay::{Attempt, Relay},
};

/// A stack around a [`ReqwestService`](crate::ReqwestService) as a middleware of reqwest-middleware (feature
/// `reqwest-middleware`).
///
/// Code which takes a `ClientWithMiddleware` changes no call site. Each attempt goes through the middleware after this one, then
/// through the client of that `ClientWithMiddleware`, and not through that of the `ReqwestService`.
///
/// ```
/// use courteous_reqwest::{PoliteMiddleware, ReqwestService};
/// use reqwest_middleware::ClientBuilder;
/// # use courteous_core::BoxError;
///
/// # fn client(stack: tower::util::MapErr<ReqwestService, fn(courteous_core::Classified) -> Failed>) {
/// // `stack` is a `courteous::Courteous<ReqwestService>`.
/// let client = ClientBuilder::new(reqwest::Client::new()).with(PoliteMiddleware::new(stack)).build();
/// # }
/// # #[derive(Debug)] struct Failed(BoxError);
/// # impl std::fmt::Display for Failed { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
/// # impl std::error::Error for Failed {}
/// # impl From<reqwest::Error> for Failed { fn from(error: reqwest::Error) -> Self { Self(error.into()) } }
/// ```
///
/// # Extensions
///
/// What the caller put into the `Extensions` (`RequestBuilder::with_extension`), the stack finds in the request's: so
/// `Idempotent(true)` and `CallTimeout` count. Each attempt gets a clone of the `Extensions` as they were at first. Those of the
/// attempt that finished last are written back. A response's extensions hold the `RetryInfo`, as
/// [`ReadRetryInfo`](crate::ReadRetryInfo) reads it.
///
/// The request's own timeout (`RequestBuilder::timeout`) bounds the whole call.
///
/// # Sharing
///
/// Each call clones the stack. Its limits and budget are shared with all of its clones, wherever these send.
///
/// # Errors
///
/// Always `Error::Middleware` around the stack's own, which is `courteous::Error`: `downcast_ref` finds it, and its `find` the last
/// `reqwest::Error`. A response is returned as it is, whatever its status.
///
/// # Cancel safety
///
/// Dropping the future ends the call and its attempts. A request may have been sent.
pub struct PoliteMiddleware<S> {
    stack: S,
}

impl<S> PoliteMiddleware<S> {
    /// Sends all requests through `stack`.
    #[must_use]
    pub const fn new(stack: S) -> Self {
        Self { stack }
    }

    /// The stack.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.stack
    }
}

impl<S: Clone> Clone for PoliteMiddleware<S> {
    fn clone(&self) -> Self {
        Self::new(self.stack.clone())
    }
}

impl<S> fmt::Debug for PoliteMiddleware<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoliteMiddleware").finish_non_exhaustive()
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<S, B> Middleware for PoliteMiddleware<S>
where
    S: Service<Request<reqwest::Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: From<reqwest::Error> + std::error::Error + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // As the macro of the trait spells it.
    fn handle<'a, 'b, 'c, 'd>(
        &'a self,
        request: reqwest::Request,
        extensions: &'b mut Extensions,
        next: Next<'c>,
    ) -> BoxFuture<'d, Result<reqwest::Response>>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
        Self: 'd,
    {
        let service = self.stack.clone();
        Box::pin(async move {
            let result = call(service, request, extensions, next).await;
            result.map(into_reqwest).map_err(Error::middleware)
        })
    }
}

/// Runs the call in `service`, and the attempts that it makes in `next`.
async fn call<S, B>(
    mut service: S,
    request: reqwest::Request,
    extensions: &mut Extensions,
    next: Next<'_>,
) -> std::result::Result<Response<B>, S::Error>
where
    S: Service<Request<reqwest::Body>, Response = Response<B>>,
    S::Error: From<reqwest::Error>,
{
    let first = extensions.clone();
    let mut request = into_http(request)?;
    // What the request itself says, its timeout, goes before what the caller said beside it.
    let mut both = first.clone();
    both.extend(std::mem::take(request.extensions_mut()));
    let (relay, mut attempts) = Relay::new();
    both.insert(relay);
    *request.extensions_mut() = both;

    let mut running: Vec<Running<'_>> = Vec::new();
    let call = async {
        poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    };
    let mut call = pin!(call);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = call.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            while let Poll::Ready(Some(attempt)) = attempts.poll_recv(cx) {
                running.push(Running::new(attempt, next.clone(), first.clone()));
            }
            let before = running.len();
            running.retain_mut(|attempt| match attempt.poll(cx) {
                Poll::Ready(Some(last)) => {
                    *extensions = last;
                    false
                }
                Poll::Ready(None) => false,
                Poll::Pending => true,
            });
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// An attempt in the rest of the chain.
struct Running<'a> {
    answer: Option<oneshot::Sender<Result<reqwest::Response>>>,
    attempt: BoxFuture<'a, (Result<reqwest::Response>, Extensions)>,
}

impl<'a> Running<'a> {
    fn new(attempt: Attempt, next: Next<'a>, mut extensions: Extensions) -> Self {
        let Attempt { request, answer } = attempt;
        Self {
            answer: Some(answer),
            attempt: Box::pin(async move {
                let result = next.run(request, &mut extensions).await;
                (result, extensions)
            }),
        }
    }

    /// Ready with the extensions when the attempt has finished, and without when the stack has given it up.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Extensions>> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(None); // it has been answered
        };
        if answer.poll_closed(cx).is_ready() {
            return Poll::Ready(None);
        }
        let Poll::Ready((result, extensions)) = self.attempt.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        if let Some(answer) = self.answer.take() {
            drop(answer.send(result)); // the stack may have given it up just now
        }
        Poll::Ready(Some(extensions))
    }
}
