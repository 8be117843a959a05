use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::Rejected;
use courteous_limit::Turn;
use http::Request;
use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    /// A call that waits to be sent. It first waits for its turn, and then until its own clone of
    /// the inner service is ready.
    pub(crate) struct Waiting<S, B, T> {
        #[pin]
        turn: T,
        service: S,
        // Taken when the request is sent.
        request: Option<Request<B>>,
        phase: Phase,
        // Whether the call was ready once, and then had no token any more.
        missed: bool,
    }
}

/// What a waiting call does at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for its turn, and holds nothing of the inner service.
    Queued,
    /// Its turn had come, but its clone of the inner service was not ready. It waits for the clone.
    Readying,
}

/// Why a call that waited is not sent.
pub(crate) enum Failure<E> {
    Inner(E),
    Rejected(Rejected),
}

impl<S, B, T> Waiting<S, B, T> {
    pub(crate) const fn new(turn: T, service: S, request: Request<B>) -> Self {
        Self {
            turn,
            service,
            request: Some(request),
            phase: Phase::Queued,
            missed: false,
        }
    }

    /// The request, unless it was sent.
    pub(crate) const fn request(&self) -> Option<&Request<B>> {
        self.request.as_ref()
    }

    /// What the call waits for.
    pub(crate) fn turn(self: Pin<&mut Self>) -> Pin<&mut T> {
        self.project().turn
    }
}

impl<S, B, T> Waiting<S, B, T>
where
    S: Service<Request<B>> + Clone,
    T: Turn,
{
    /// Sends the request when its turn has come.
    pub(crate) fn poll_call(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Future, Failure<S::Error>>> {
        let mut this = self.project();
        loop {
            if *this.phase == Phase::Readying {
                ready!(this.service.poll_ready(cx)).map_err(Failure::Inner)?;
            }
            match this.turn.as_mut().poll(cx) {
                Poll::Ready(turn) => turn.map_err(Failure::Rejected)?,
                Poll::Pending => {
                    if mem::replace(this.phase, Phase::Queued) == Phase::Readying {
                        // The clone was readied for nothing: the tokens went to others meanwhile.
                        *this.missed = true;
                        *this.service = this.service.clone();
                    }
                    return Poll::Pending;
                }
            }
            if *this.phase == Phase::Queued {
                let ready = this.service.poll_ready(cx).map_err(Failure::Inner)?;
                if ready.is_pending() {
                    // A call that missed its turn keeps the next one while it readies its clone.
                    // Otherwise, a crowd of such calls could pass a token round for ever. This
                    // costs the other calls one token, which comes back to them.
                    if !*this.missed {
                        this.turn.as_mut().pass();
                    }
                    *this.phase = Phase::Readying;
                    return Poll::Pending;
                }
            }
            *this.phase = Phase::Queued;
            if this.turn.as_mut().spend()
                && let Some(request) = this.request.take()
            {
                return Poll::Ready(Ok(this.service.call(request)));
            }
            // The turn was granted too long ago. The call gives the readiness back, and waits
            // again.
            *this.service = this.service.clone();
        }
    }
}
