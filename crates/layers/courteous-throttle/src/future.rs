use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::{Rejected, RequestView, Sent};
use courteous_limit::{WaitFailure, Waiting};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use crate::{Reject, Settle, TokenStore, Turn, events, listen::Listen};

pin_project! {
    /// The response of a [`Throttle`](crate::Throttle), or its rejection.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<F, S, B, St, T, R> {
        #[pin]
        state: State<F, S, B, T, R>,
        listen: Option<Listen<St>>,
        // Put into the response, if the request's cost was addressed.
        settle: Option<Settle>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, B, T, R> {
        Called {
            #[pin]
            future: F,
            // When it was sent, if the call had to wait for that.
            sent: Option<Instant>,
        },
        // Not boxed: in a crowd, a box for each call costs more than moving this much memory.
        Waiting {
            #[pin]
            waiting: Waiting<S, B, T, R>,
        },
        Rejected {
            rejected: Rejected,
            reject: R,
        },
        Done,
    }
}

impl<F, S, B, St, T, R> ResponseFuture<F, S, B, St, T, R> {
    pub(crate) const fn called(
        future: F,
        listen: Option<Listen<St>>,
        settle: Option<Settle>,
    ) -> Self {
        Self {
            state: State::Called { future, sent: None },
            listen,
            settle,
        }
    }

    pub(crate) const fn waiting(
        waiting: Waiting<S, B, T, R>,
        listen: Option<Listen<St>>,
        settle: Option<Settle>,
    ) -> Self {
        Self {
            state: State::Waiting { waiting },
            listen,
            settle,
        }
    }

    pub(crate) const fn rejected(rejected: Rejected, reject: R) -> Self {
        Self {
            state: State::Rejected { rejected, reject },
            listen: None,
            settle: None,
        }
    }
}

impl<S, B, RB, St, T, R> Future for ResponseFuture<S::Future, S, B, St, T, R>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    St: TokenStore,
    T: Turn,
    R: Reject<RB, S::Error>,
{
    type Output = Result<Response<RB>, R::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StateProj::Waiting { mut waiting } = this.state.as_mut().project() {
            let outcome = match ready!(waiting.as_mut().poll_call(cx)) {
                // This drops the clone that was called, and the turn that was spent.
                Ok(future) => {
                    let sent = Some(Instant::now());
                    this.state.set(State::Called { future, sent });
                    None
                }
                Err(WaitFailure::Inner(error)) => Some(Err(R::error(error))),
                Err(WaitFailure::Rejected(rejected)) => {
                    if let Some(request) = waiting.request() {
                        events::rejected(RequestView::of(request), &rejected, false);
                    }
                    Some(waiting.reject().reject(rejected))
                }
            };
            if let Some(outcome) = outcome {
                // The clone may be ready, and the caller may keep this future.
                this.state.set(State::Done);
                return Poll::Ready(outcome);
            }
        }
        match this.state.project() {
            StateProj::Called { future, sent } => {
                let mut outcome = ready!(future.poll(cx));
                if let (Ok(response), Some(at)) = (&mut outcome, *sent) {
                    tell_sent(response, at);
                }
                if let (Ok(response), Some(listen)) = (&mut outcome, this.listen.as_ref()) {
                    listen.hear(response);
                }
                if this.settle.is_some() {
                    // Without a response, the handle is dropped, and the estimate stands.
                    give_handle(this.settle.take(), &mut outcome);
                }
                Poll::Ready(outcome.map_err(R::error))
            }
            StateProj::Rejected { rejected, reject } => Poll::Ready(reject.reject(*rejected)),
            // The future is polled again after it has ended.
            StateProj::Waiting { .. } | StateProj::Done => Poll::Pending,
        }
    }
}

/// Tells layers further out when the request was sent, unless a layer further in has waited, too.
#[cold]
fn tell_sent<B>(response: &mut Response<B>, at: Instant) {
    let extensions = response.extensions_mut();
    if extensions.get::<Sent>().is_none() {
        extensions.insert(Sent::new(at));
    }
}

#[cold]
#[inline(never)]
fn give_handle<B, E>(settle: Option<Settle>, outcome: &mut Result<Response<B>, E>) {
    if let (Some(settle), Ok(response)) = (settle, outcome) {
        settle.put_into(response);
    }
}

impl<F, S, B, St, T, R> fmt::Debug for ResponseFuture<F, S, B, St, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Called { .. } => "called",
            State::Waiting { .. } => "waiting",
            State::Rejected { .. } => "rejected",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
