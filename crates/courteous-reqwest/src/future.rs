use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::Classified;
use http::Response;
use pin_project_lite::pin_project;
use reqwest::{Body, Client, ResponseBuilderExt};
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

pin_project! {
    #[project = Projected]
    enum State {
        Sent { #[pin] pending: Pending },
        // No `http` request that reqwest understands.
        Failed { error: Option<reqwest::Error> },
    }
}

impl ResponseFuture {
    pub(crate) const fn sent(pending: Pending) -> Self {
        Self {
            state: State::Sent { pending },
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
        let result = match self.project().state.project() {
            Projected::Sent { pending } => ready!(pending.poll(cx)),
            Projected::Failed { error } => match error.take() {
                Some(error) => Err(error),
                None => return Poll::Pending, // polled after it was ready
            },
        };
        Poll::Ready(match result {
            Ok(response) => Ok(convert(response)),
            Err(error) => Err(Classified::new(verdict(&error), error)),
        })
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
