use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use courteous_core::{BoxError, Rejected};
use pin_project_lite::pin_project;

pin_project! {
    /// The response of an [`IdempotencyKey`](crate::IdempotencyKey).
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Call { #[pin] call: F },
        Rejected { rejected: Rejected },
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn call(call: F) -> Self {
        Self {
            state: State::Call { call },
        }
    }

    pub(crate) const fn rejected(rejected: Rejected) -> Self {
        Self {
            state: State::Rejected { rejected },
        }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError>,
{
    type Output = Result<R, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Call { call } => call.poll(cx).map_err(Into::into),
            StateProj::Rejected { rejected } => Poll::Ready(Err((*rejected).into())),
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
