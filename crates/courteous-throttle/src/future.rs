use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::Rejected;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{Refuse, Store, Turn, listen::Listen};

pin_project! {
    /// The response of a [`Throttle`](crate::Throttle), or its refusal.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<F, S, B, St, T, R> {
        #[pin]
        state: State<F, S, B, T, R>,
        listen: Option<Listen<St>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, B, T, R> {
        Called {
            #[pin]
            future: F,
        },
        Waiting {
            #[pin]
            turn: T,
            service: S,
            // Taken when it is sent.
            request: Option<Request<B>>,
            refuse: R,
            phase: Phase,
            // Whether it was ready once, and then had no token any more.
            missed: bool,
        },
        Refused {
            rejected: Rejected,
            refuse: R,
        },
        Done,
    }
}

/// What a waiting call is at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for its turn, and holds nothing of the inner service's.
    Queued,
    /// It was its turn, but its clone of the inner service was not ready: it waits for that.
    Readying,
}

impl<F, S, B, St, T, R> ResponseFuture<F, S, B, St, T, R> {
    pub(crate) const fn called(future: F, listen: Option<Listen<St>>) -> Self {
        Self {
            state: State::Called { future },
            listen,
        }
    }

    pub(crate) const fn waiting(
        turn: T,
        service: S,
        request: Request<B>,
        refuse: R,
        listen: Option<Listen<St>>,
    ) -> Self {
        Self {
            state: State::Waiting {
                turn,
                service,
                request: Some(request),
                refuse,
                phase: Phase::Queued,
                missed: false,
            },
            listen,
        }
    }

    pub(crate) const fn refused(rejected: Rejected, refuse: R) -> Self {
        Self {
            state: State::Refused { rejected, refuse },
            listen: None,
        }
    }
}

impl<S, B, RB, St, T, R> Future for ResponseFuture<S::Future, S, B, St, T, R>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    St: Store,
    T: Turn,
    R: Refuse<RB, S::Error>,
{
    type Output = Result<Response<RB>, R::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let called = match this.state.as_mut().project() {
                StateProj::Called { future } => {
                    let mut outcome = ready!(future.poll(cx));
                    if let (Ok(response), Some(listen)) = (&mut outcome, this.listen.as_ref()) {
                        listen.hear(response);
                    }
                    return Poll::Ready(outcome.map_err(R::error));
                }
                StateProj::Refused { rejected, refuse } => {
                    report(rejected);
                    return Poll::Ready(refuse.refuse(*rejected));
                }
                // Polled again after it has ended.
                StateProj::Done => return Poll::Pending,
                StateProj::Waiting {
                    mut turn,
                    service,
                    request,
                    refuse,
                    phase,
                    missed,
                } => loop {
                    if *phase == Phase::Readying {
                        ready!(service.poll_ready(cx)).map_err(R::error)?;
                    }
                    match turn.as_mut().poll(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(rejected)) => {
                            report(&rejected);
                            let outcome = refuse.refuse(rejected);
                            // The clone may be ready, and the caller may keep this future.
                            this.state.set(State::Done);
                            return Poll::Ready(outcome);
                        }
                        Poll::Pending => {
                            if mem::replace(phase, Phase::Queued) == Phase::Readying {
                                // Readied for nothing: the tokens went to others meanwhile.
                                *missed = true;
                                *service = service.clone();
                            }
                            return Poll::Pending;
                        }
                    }
                    if *phase == Phase::Queued
                        && service.poll_ready(cx).map_err(R::error)?.is_pending()
                    {
                        // One who missed its turn keeps the next one while it readies: else a crowd of such could pass
                        // a token round for ever. It costs the others one token, which comes back to them.
                        if !*missed {
                            turn.as_mut().pass();
                        }
                        *phase = Phase::Readying;
                        return Poll::Pending;
                    }
                    *phase = Phase::Queued;
                    if turn.as_mut().spend()
                        && let Some(request) = request.take()
                    {
                        break service.call(request);
                    }
                    // Granted too long ago. Gives the readiness back, and waits again.
                    *service = service.clone();
                },
            };
            // Drops the clone that was called, and the turn that was spent.
            this.state.set(State::Called { future: called });
        }
    }
}

/// Tells who listens of a refusal.
fn report(rejected: &Rejected) {
    #[cfg(feature = "tracing")]
    tracing::debug!(reason = ?rejected.reason(), wait = ?rejected.wait(), "request refused");
    #[cfg(not(feature = "tracing"))]
    let _ = rejected;
}

impl<F, S, B, St, T, R> fmt::Debug for ResponseFuture<F, S, B, St, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Called { .. } => "called",
            State::Waiting { .. } => "waiting",
            State::Refused { .. } => "refused",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
