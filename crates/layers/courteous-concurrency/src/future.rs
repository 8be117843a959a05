use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::{Reject, Rejected};
use courteous_limit::WaitFailure;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    body::PermitBody, events, permit::Permit, queued_call::QueuedCall, settings::HoldUntil,
};

pin_project! {
    /// The response future of a [`ConcurrencyLimit`](crate::ConcurrencyLimit).
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives back everything that it holds: its place in the queue, or the call and its
    /// permit.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<S, B, F, R> {
        #[pin]
        state: State<S, B, F, R>,
        hold: HoldUntil,
    }
}

pin_project! {
    #[project = StateProj]
    #[project_replace = StateOwned]
    enum State<S, B, F, R> {
        // Not boxed: in a crowd, a box for each call costs more than the space for it.
        Waiting { waiting: QueuedCall<S, B, R> },
        Running {
            // Before the permit, so that the call has ended when the next call is admitted.
            #[pin]
            future: F,
            permit: Option<Permit>,
        },
        Rejected { rejected: Rejected, reject: R },
        Done,
    }
}

impl<S, B, F, R> ResponseFuture<S, B, F, R> {
    pub(crate) const fn running(future: F, permit: Option<Permit>, hold: HoldUntil) -> Self {
        Self {
            state: State::Running { future, permit },
            hold,
        }
    }

    pub(crate) const fn waiting(waiting: QueuedCall<S, B, R>, hold: HoldUntil) -> Self {
        Self {
            state: State::Waiting { waiting },
            hold,
        }
    }

    pub(crate) const fn rejected(rejected: Rejected, reject: R) -> Self {
        Self {
            state: State::Rejected { rejected, reject },
            hold: HoldUntil::Headers,
        }
    }
}

impl<S, B, F, RB, R> Future for ResponseFuture<S, B, F, R>
where
    S: Service<Request<B>, Response = Response<RB>, Future = F> + Clone,
    F: Future<Output = Result<Response<RB>, S::Error>>,
    RB: Body,
    R: Reject<RB, S::Error>,
{
    type Output = Result<Response<PermitBody<RB>>, R::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StateProj::Waiting { waiting } = this.state.as_mut().project() {
            let turn = ready!(waiting.poll_turn(cx));
            let StateOwned::Waiting { waiting } = this.state.as_mut().project_replace(State::Done)
            else {
                return Poll::Pending;
            };
            let permit = match turn {
                Ok(permit) => permit,
                Err(WaitFailure::Inner(error)) => return Poll::Ready(Err(R::error(error))),
                Err(WaitFailure::Rejected(rejected)) => {
                    if let Some(request) = waiting.request() {
                        events::rejected(request, &rejected);
                    }
                    return Poll::Ready(reject_call(&waiting.into_reject(), rejected));
                }
            };
            let Some((future, permit)) = waiting.send(permit) else {
                return Poll::Pending;
            };
            let permit = Some(permit);
            this.state.set(State::Running { future, permit });
        }
        let StateProj::Running { future, permit } = this.state.as_mut().project() else {
            return match this.state.project_replace(State::Done) {
                StateOwned::Rejected { rejected, reject } => {
                    Poll::Ready(reject_call(&reject, rejected))
                }
                // The future was polled again after it had ended.
                _ => Poll::Pending,
            };
        };
        let result = ready!(future.poll(cx));
        let permit = permit.take();
        // The inner future is dropped before its permit is given to the next call, and at once: a
        // caller may keep this future.
        this.state.set(State::Done);
        Poll::Ready(match result {
            Ok(response) => {
                let permit = permit.filter(|_| *this.hold == HoldUntil::Body);
                Ok(response.map(|body| PermitBody::new(body, permit)))
            }
            Err(error) => Err(R::error(error)),
        })
    }
}

/// The outcome of a rejected call.
fn reject_call<RB, E, R: Reject<RB, E>>(
    reject: &R,
    rejected: Rejected,
) -> Result<Response<PermitBody<RB>>, R::Error> {
    let response = reject.reject(rejected)?;
    Ok(response.map(PermitBody::free))
}

impl<S, B, F, R> fmt::Debug for ResponseFuture<S, B, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting { .. } => "waiting",
            State::Running { .. } => "running",
            State::Rejected { .. } => "rejected",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
