use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::{BoxError, Rejected};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    body::PermitBody,
    events,
    options::HoldUntil,
    permit::Permit,
    reject::{AsError, AsResponse},
    waiting::{Failure, Waiting},
};

pin_project! {
    /// The response of a [`ConcurrencyLimit`](crate::ConcurrencyLimit).
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives back all that it holds: its place in the queue, or the call and its
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
        // Not boxed: in a crowd, a box for each costs more than moving the room for it.
        Waiting { waiting: Waiting<S, B, R> },
        Running {
            // Before the permit, so that the call has ended when the next one is admitted.
            #[pin]
            future: F,
            permit: Option<Permit>,
        },
        Refused { rejected: Rejected, reject: R },
        Done,
    }
}

type Outcome<RB, E, R> = Result<Response<PermitBody<RB>>, Ended<E, R>>;

/// How a call ended that has no response.
enum Ended<E, R> {
    Failed(E),
    Refused(Rejected, R),
}

impl<S, B, F, R> ResponseFuture<S, B, F, R> {
    pub(crate) const fn running(future: F, permit: Permit, hold: HoldUntil) -> Self {
        let permit = Some(permit);
        Self {
            state: State::Running { future, permit },
            hold,
        }
    }

    pub(crate) const fn waiting(waiting: Waiting<S, B, R>, hold: HoldUntil) -> Self {
        Self {
            state: State::Waiting { waiting },
            hold,
        }
    }

    pub(crate) const fn refused(rejected: Rejected, reject: R) -> Self {
        Self {
            state: State::Refused { rejected, reject },
            hold: HoldUntil::Headers,
        }
    }

    fn poll_response<RB, E>(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<RB, E, R>>
    where
        S: Service<Request<B>, Response = Response<RB>, Error = E, Future = F> + Clone,
        F: Future<Output = Result<Response<RB>, E>>,
        RB: Body,
    {
        let mut this = self.project();
        if let StateProj::Waiting { waiting } = this.state.as_mut().project() {
            let turn = ready!(waiting.poll_turn(cx));
            let StateOwned::Waiting { waiting } = this.state.as_mut().project_replace(State::Done)
            else {
                return Poll::Pending;
            };
            let permit = match turn {
                Ok(permit) => permit,
                Err(Failure::Inner(error)) => return Poll::Ready(Err(Ended::Failed(error))),
                Err(Failure::Rejected(rejected)) => {
                    events::refused(&rejected);
                    let reject = waiting.into_reject();
                    return Poll::Ready(Err(Ended::Refused(rejected, reject)));
                }
            };
            let (future, permit) = waiting.send(permit);
            let permit = Some(permit);
            this.state.set(State::Running { future, permit });
        }
        let StateProj::Running { future, permit } = this.state.as_mut().project() else {
            return match this.state.project_replace(State::Done) {
                StateOwned::Refused { rejected, reject } => {
                    Poll::Ready(Err(Ended::Refused(rejected, reject)))
                }
                // Polled again after it has ended.
                _ => Poll::Pending,
            };
        };
        let result = ready!(future.poll(cx));
        let permit = permit.take();
        // The inner future goes before its permit is given on, and at once: a caller may keep this
        // one.
        this.state.set(State::Done);
        Poll::Ready(match result {
            Ok(response) => {
                let permit = permit.filter(|_| *this.hold == HoldUntil::Body);
                Ok(response.map(|body| PermitBody::new(body, permit)))
            }
            Err(error) => Err(Ended::Failed(error)),
        })
    }
}

impl<S, B, F, RB> Future for ResponseFuture<S, B, F, AsError>
where
    S: Service<Request<B>, Response = Response<RB>, Future = F> + Clone,
    S::Error: Into<BoxError>,
    F: Future<Output = Result<Response<RB>, S::Error>>,
    RB: Body,
{
    type Output = Result<Response<PermitBody<RB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_response(cx).map_err(|ended| match ended {
            Ended::Failed(error) => error.into(),
            Ended::Refused(rejected, AsError) => rejected.into(),
        })
    }
}

impl<S, B, F, RB, A> Future for ResponseFuture<S, B, F, AsResponse<A>>
where
    S: Service<Request<B>, Response = Response<RB>, Future = F> + Clone,
    F: Future<Output = Result<Response<RB>, S::Error>>,
    RB: Body,
    A: Fn(&Rejected) -> Response<RB>,
{
    type Output = Result<Response<PermitBody<RB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(self.poll_response(cx)) {
            Ok(response) => Ok(response),
            Err(Ended::Failed(error)) => Err(error),
            Err(Ended::Refused(rejected, AsResponse(answer))) => {
                Ok(answer(&rejected).map(PermitBody::free))
            }
        })
    }
}

impl<S, B, F, R> fmt::Debug for ResponseFuture<S, B, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting { .. } => "waiting",
            State::Running { .. } => "running",
            State::Refused { .. } => "refused",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
