use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use courteous_core::{Classified, Elapsed, Scope};
use http::Response;
use pin_project_lite::pin_project;
use reqwest::{Body, Client, ResponseBuilderExt};
use tokio::time::Instant;
use tower_service::Service;

use crate::verdict::verdict;

/// reqwest gives its future no name of its own.
type Pending = <Client as Service<reqwest::Request>>::Future;

pin_project! {
    /// The response of a [`ReqwestService`](crate::ReqwestService).
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture {
        #[pin]
        state: State,
    }
}

#[cfg(feature = "reqwest-middleware")]
type Answer = crate::relay::Answer;
#[cfg(not(feature = "reqwest-middleware"))]
type Answer = std::convert::Infallible;

pin_project! {
    #[project = Projected]
    enum State {
        Sent { #[pin] pending: Pending, own_timeout: Option<OwnTimeout> },
        // Sent by what a middleware stands on.
        Relayed { answer: Answer, own_timeout: Option<OwnTimeout> },
        // No `http` request that reqwest understands.
        Failed { error: Option<reqwest::Error> },
    }
}

/// The timeout that a request brings: its caller's, for the whole call.
#[derive(Clone, Copy)]
pub(crate) struct OwnTimeout {
    timeout: Duration,
    sent: Instant,
}

impl OwnTimeout {
    /// The one of `request`, which is sent now.
    pub(crate) fn of(request: &reqwest::Request) -> Option<Self> {
        let timeout = *request.timeout()?;
        Some(Self {
            timeout,
            sent: Instant::now(),
        })
    }

    /// What `error` means, if this timeout was its reason. The client's own timeouts have the same error.
    fn elapsed(self, error: &reqwest::Error) -> Option<Elapsed> {
        let is_over = error.is_timeout() && self.sent.elapsed() >= self.timeout;
        is_over.then(|| Elapsed::new(self.timeout, Scope::Total))
    }
}

impl ResponseFuture {
    pub(crate) const fn sent(pending: Pending, own_timeout: Option<OwnTimeout>) -> Self {
        Self {
            state: State::Sent {
                pending,
                own_timeout,
            },
        }
    }

    #[cfg(feature = "reqwest-middleware")]
    pub(crate) const fn relayed(answer: Answer, own_timeout: Option<OwnTimeout>) -> Self {
        Self {
            state: State::Relayed {
                answer,
                own_timeout,
            },
        }
    }

    pub(crate) const fn failed(error: reqwest::Error) -> Self {
        Self {
            state: State::Failed { error: Some(error) },
        }
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Classified>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            Projected::Sent {
                pending,
                own_timeout,
            } => match ready!(pending.poll(cx)) {
                Ok(response) => Ok(convert(response)),
                Err(error) => Err(classify(error, *own_timeout)),
            },
            #[cfg(feature = "reqwest-middleware")]
            Projected::Relayed {
                answer,
                own_timeout,
            } => match ready!(answer.poll(cx)) {
                Ok(response) => Ok(convert(response)),
                Err(Ok(error)) => Err(classify(error, *own_timeout)),
                Err(Err(error)) => Err(error),
            },
            #[cfg(not(feature = "reqwest-middleware"))]
            Projected::Relayed { answer, .. } => match *answer {},
            Projected::Failed { error } => match error.take() {
                Some(error) => Err(Classified::new(verdict(&error), error)),
                None => return Poll::Pending, // polled after it was ready
            },
        })
    }
}

fn classify(error: reqwest::Error, own_timeout: Option<OwnTimeout>) -> Classified {
    match own_timeout.and_then(|own| own.elapsed(&error)) {
        Some(elapsed) => Classified::new(verdict(&error), elapsed),
        None => Classified::new(verdict(&error), error),
    }
}

/// reqwest's own conversion forgets the URL.
fn convert(response: reqwest::Response) -> Response<Body> {
    let url = Response::builder().url(response.url().clone()).body(());
    let mut response = Response::from(response);
    if let Ok(url) = url {
        response
            .extensions_mut()
            .extend(url.into_parts().0.extensions);
    }
    response
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
