use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::{BoxError, Pressure, Rejected, Sent};
use courteous_limit::{WaitFailure, Waiting};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    body::PermitBody, controller::Outcome, events, judge, permit::Permit, turn::PermitTurn,
};

pin_project! {
    /// The response future of an [`AdaptiveLimit`](crate::AdaptiveLimit).
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives back everything that it holds: its place in the queue, or the attempt and
    /// its permit.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<S, B, F> {
        #[pin]
        state: State<S, B, F>,
        is_long_lived: bool,
    }
}

pin_project! {
    #[project = StateProj]
    #[project_replace = StateOwned]
    enum State<S, B, F> {
        Waiting { #[pin] waiting: Waiting<S, B, PermitTurn, ()> },
        Running {
            // Before the permit, so that the attempt has ended when the next one is admitted.
            #[pin]
            future: F,
            permit: Option<Permit>,
        },
        Rejected { rejected: Rejected },
        Done,
    }
}

impl<S, B, F> ResponseFuture<S, B, F> {
    pub(crate) const fn running(future: F, permit: Permit, is_long_lived: bool) -> Self {
        let permit = Some(permit);
        Self {
            state: State::Running { future, permit },
            is_long_lived,
        }
    }

    pub(crate) const fn waiting(
        waiting: Waiting<S, B, PermitTurn, ()>,
        is_long_lived: bool,
    ) -> Self {
        Self {
            state: State::Waiting { waiting },
            is_long_lived,
        }
    }

    pub(crate) const fn rejected(rejected: Rejected) -> Self {
        Self {
            state: State::Rejected { rejected },
            is_long_lived: false,
        }
    }
}

impl<S, B, F, RB> Future for ResponseFuture<S, B, F>
where
    S: Service<Request<B>, Response = Response<RB>, Future = F> + Clone,
    S::Error: Into<BoxError>,
    F: Future<Output = Result<Response<RB>, S::Error>>,
    RB: Body,
{
    type Output = Result<Response<PermitBody<RB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StateProj::Waiting { mut waiting } = this.state.as_mut().project() {
            let future = match ready!(waiting.as_mut().poll_call(cx)) {
                Ok(future) => future,
                Err(failure) => {
                    let error = match failure {
                        WaitFailure::Inner(error) => error.into(),
                        WaitFailure::Rejected(rejected) => {
                            if let Some(request) = waiting.request() {
                                events::rejected(request, &rejected);
                            }
                            rejected.into()
                        }
                    };
                    this.state.set(State::Done);
                    return Poll::Ready(Err(error));
                }
            };
            let permit = waiting.turn().get_mut().take_permit();
            this.state.set(State::Running { future, permit });
        }
        let StateProj::Running { future, permit } = this.state.as_mut().project() else {
            return match this.state.project_replace(State::Done) {
                StateOwned::Rejected { rejected } => Poll::Ready(Err(rejected.into())),
                // The future was polled again after it had ended.
                _ => Poll::Pending,
            };
        };
        let result = ready!(future.poll(cx));
        let permit = permit.take();
        // The inner future is dropped before its permit is given to the next call, and at once: a
        // caller may keep this future.
        this.state.set(State::Done);
        Poll::Ready(finish(result, permit, *this.is_long_lived))
    }
}

/// Tells the limit of the attempt's outcome, and the caller of the pressure.
fn finish<RB: Body, E: Into<BoxError>>(
    result: Result<Response<RB>, E>,
    permit: Option<Permit>,
    is_long_lived: bool,
) -> Result<Response<PermitBody<RB>>, BoxError> {
    match result {
        Ok(mut response) => {
            let sent = response.extensions().get::<Sent>().map(Sent::at);
            let outcome = judge::of_response(&response);
            let mut permit = permit;
            let pressure = permit.as_mut().map(|permit| permit.hear(outcome, sent));
            let is_success = outcome == Outcome::Answered { is_success: true };
            let is_news = |pressure: &Pressure| match pressure {
                Pressure::Calm => false,
                Pressure::Unknown => !is_success,
                _ => true,
            };
            if let Some(pressure) = pressure.filter(is_news) {
                response.extensions_mut().insert(pressure);
            }
            let permit = permit.filter(|_| !is_long_lived);
            Ok(response.map(|body| PermitBody::new(body, permit)))
        }
        Err(error) => {
            let error = error.into();
            let outcome = judge::of_error(&*error);
            let pressure = permit.map(|mut permit| permit.hear(outcome, None));
            Err(
                match pressure.filter(|pressure| *pressure != Pressure::Calm) {
                    Some(pressure) => pressure.with_error(error),
                    None => error,
                },
            )
        }
    }
}

impl<S, B, F> fmt::Debug for ResponseFuture<S, B, F> {
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
