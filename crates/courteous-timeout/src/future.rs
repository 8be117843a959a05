use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::BoxError;
use http::Response;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::{
    Coverage, DeadlineBody,
    limit::{Limit, poll_timer},
};

pin_project! {
    /// Polls a response before its timer: a response that is here at the deadline is still a
    /// response.
    ///
    /// When it resolves, the inner future and the timer are gone. Polled after that, it stays
    /// pending.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        #[pin]
        timer: Option<Sleep>,
        limit: Option<Limit>,
        coverage: Coverage,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Waiting { #[pin] inner: F },
        Refused { limit: Limit },
        Resolved,
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn new(inner: F, limit: Option<Limit>, coverage: Coverage) -> Self {
        Self {
            state: State::Waiting { inner },
            timer: None,
            limit,
            coverage,
        }
    }

    /// Of a call that is not made, as there is no time left for it.
    pub(crate) const fn refused(limit: Limit) -> Self {
        Self {
            state: State::Refused { limit },
            timer: None,
            limit: None,
            coverage: Coverage::Headers,
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<DeadlineBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let outcome = match this.state.as_mut().project() {
            StateProj::Waiting { inner } => match inner.poll(cx) {
                Poll::Ready(outcome) => outcome.map_err(Into::into),
                Poll::Pending => {
                    let Some(limit) = this.limit else {
                        return Poll::Pending;
                    };
                    if this.timer.is_none() {
                        this.timer.set(Some(limit.timer()));
                    }
                    if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                        ready!(poll_timer(timer, cx));
                    }
                    Err(limit.strike())
                }
            },
            StateProj::Refused { limit } => Err(limit.strike()),
            StateProj::Resolved => return Poll::Pending,
        };
        this.state.set(State::Resolved);
        this.timer.set(None);
        let limit = this
            .limit
            .take_if(|_| matches!(this.coverage, Coverage::Body));
        Poll::Ready(outcome.map(|response| response.map(|body| DeadlineBody::new(body, limit))))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("limit", &self.limit)
            .field("coverage", &self.coverage)
            .finish_non_exhaustive()
    }
}
