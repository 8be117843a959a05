use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::{Rejected, timer};
use http::Request;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use crate::{options::Bound, permit::Permit, place::Place};

/// A call that waits to be sent: for a permit, and then for its own clone of the inner service to
/// be ready.
pub(crate) struct Waiting<S, B, R> {
    // Dropped in this order: the readiness that the clone may have is given back before the place
    // in the line.
    inner: S,
    request: Request<B>,
    place: Place,
    turn: Turn,
    bound: Option<Bound>,
    /// For the bound; made when the first wait begins.
    sleep: Option<Pin<Box<Sleep>>>,
    reject: R,
}

/// What a waiting call asks for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// A permit. The clone is not ready, and holds nothing.
    Permit,
    /// Readiness. No permit is held, and none is asked for.
    Readiness,
    /// A permit that is free now, the clone being ready.
    Both,
}

/// Why a call that waited is not sent.
pub(crate) enum Failure<E> {
    Inner(E),
    Rejected(Rejected),
}

impl<S, B, R> Waiting<S, B, R>
where
    S: Service<Request<B>> + Clone,
{
    pub(crate) const fn new(
        place: Place,
        bound: Option<Bound>,
        inner: S,
        request: Request<B>,
        reject: R,
    ) -> Self {
        Self {
            inner,
            request,
            place,
            turn: Turn::Permit,
            bound,
            sleep: None,
            reject,
        }
    }

    /// Waits until the call may be sent, which it has to be at once then.
    pub(crate) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Permit, Failure<S::Error>>> {
        match self.poll_both(cx) {
            Poll::Ready(Ok(permit)) => Poll::Ready(match self.rejected() {
                None => Ok(permit),
                Some(rejected) => Err(Failure::Rejected(rejected)),
            }),
            Poll::Ready(Err(error)) => Poll::Ready(Err(Failure::Inner(error))),
            Poll::Pending => self
                .poll_bound(cx)
                .map(|rejected| Err(Failure::Rejected(rejected))),
        }
    }

    /// Sends the request, after the turn has come. `permit` is given back if that panics.
    pub(crate) fn send(self, permit: Permit) -> (S::Future, Permit) {
        let Self {
            mut inner,
            request,
            place,
            ..
        } = self;
        drop(place);
        (inner.call(request), permit)
    }

    /// The request, which is not sent yet.
    pub(crate) const fn request(&self) -> &Request<B> {
        &self.request
    }

    pub(crate) fn into_reject(self) -> R {
        self.reject
    }

    /// Waits until there are a permit and a ready clone, but never for the one while holding the
    /// other.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, S::Error>> {
        if self.turn == Turn::Readiness {
            ready!(self.inner.poll_ready(cx))?;
            self.turn = Turn::Both;
        }
        let called = self.turn == Turn::Both;
        let Poll::Ready(permit) = self.place.poll_permit(called, cx) else {
            if called {
                self.inner = self.inner.clone();
                self.turn = Turn::Permit;
            }
            return Poll::Pending;
        };
        if !called && self.inner.poll_ready(cx)?.is_pending() {
            // Without the permit, which is dropped here, but not without the place.
            self.turn = Turn::Readiness;
            return Poll::Pending;
        }
        Poll::Ready(Ok(permit))
    }

    fn poll_bound(&mut self, cx: &mut Context<'_>) -> Poll<Rejected> {
        let Some(bound) = self.bound else {
            return Poll::Pending;
        };
        if self.sleep.is_none() {
            self.sleep = timer(bound.at).map(Box::pin).ok();
        }
        match &mut self.sleep {
            Some(sleep) => ready!(sleep.as_mut().poll(cx)),
            None if bound.at <= Instant::now() => {}
            None => {
                // Without a runtime, as the queue itself: polled again and again.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(Rejected::new(bound.reason))
    }

    /// The refusal of a call whose wait is over although its turn has come: it was polled too late.
    fn rejected(&self) -> Option<Rejected> {
        let bound = self.bound.filter(|bound| bound.at <= Instant::now())?;
        Some(Rejected::new(bound.reason))
    }
}
