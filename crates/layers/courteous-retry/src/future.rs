use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_body::{Drain, Keep};
use courteous_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use crate::call::{Call, Step};

pin_project! {
    /// The response of a [`Retry`](crate::Retry).
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<S, K, B, RB>
    where
        S: Service<Request<B>>,
        K: Keep<B>,
    {
        pub(crate) call: Call<S, K, B>,
        #[pin]
        state: State<S::Future, RB>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, RB> {
        Attempt { #[pin] attempt: F },
        /// The rest of a discarded body is read, so that its connection can be used again.
        Drain { #[pin] drain: Drain<RB>, until: Instant },
        /// Nothing is held but a place in time.
        Wait,
        /// The service is made ready for another attempt.
        Ready,
        /// There is to be no attempt at all.
        Rejected { error: Option<BoxError> },
        Done,
    }
}

impl<S, K, B, RB> ResponseFuture<S, K, B, RB>
where
    S: Service<Request<B>>,
    K: Keep<B>,
{
    /// Of a call whose first attempt is still to be [made](Self::attempt): where it is, as each move of it costs.
    #[inline(always)]
    pub(crate) const fn new(call: Call<S, K, B>) -> Self {
        Self {
            call,
            state: State::Done,
        }
    }

    #[inline(always)]
    pub(crate) fn attempt(&mut self, attempt: S::Future) {
        self.state = State::Attempt { attempt };
    }

    pub(crate) fn reject(&mut self, error: BoxError) {
        self.state = State::Rejected { error: Some(error) };
    }
}

impl<S, K, B, RB> Future for ResponseFuture<S, K, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
    K: Keep<B>,
    RB: Body,
{
    type Output = Result<Response<RB>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Attempt { attempt } => {
                    let result = ready!(attempt.poll(cx)).map_err(Into::into);
                    if this.call.observe(&result) {
                        this.state.set(State::Done);
                        return Poll::Ready(result);
                    }
                    match this.call.judge(result) {
                        Step::Return(result) => {
                            this.state.set(State::Done);
                            return Poll::Ready(result);
                        }
                        Step::Wait => State::Wait,
                        Step::Drain(body, until) => State::Drain {
                            drain: Drain::new(body),
                            until,
                        },
                    }
                }
                StateProj::Drain { drain, until } => {
                    if drain.poll(cx).is_pending() && this.call.wait(*until, cx).is_pending() {
                        return Poll::Pending;
                    }
                    // What is left of the body is dropped here, before the wait.
                    State::Wait
                }
                StateProj::Wait => {
                    if let Some(until) = this.call.next_at()
                        && let Err(error) = ready!(this.call.wait(until, cx))
                    {
                        this.state.set(State::Done);
                        return Poll::Ready(Err(this.call.no_attempt(error.into())));
                    }
                    this.call.end_wait();
                    State::Ready
                }
                StateProj::Ready => {
                    if let Err(error) = ready!(this.call.service.poll_ready(cx)) {
                        this.state.set(State::Done);
                        return Poll::Ready(Err(this.call.no_attempt(error.into())));
                    }
                    match this.call.start() {
                        Some(request) => State::Attempt {
                            attempt: this.call.service.call(request),
                        },
                        None => State::Done,
                    }
                }
                StateProj::Rejected { error } => match error.take() {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => State::Done,
                },
                StateProj::Done => return Poll::Pending,
            };
            this.state.set(next);
        }
    }
}

impl<S, K, B, RB> fmt::Debug for ResponseFuture<S, K, B, RB>
where
    S: Service<Request<B>>,
    K: Keep<B>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
