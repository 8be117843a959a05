use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use courteous_core::{Rejected, timer};
use courteous_limit::WaitFailure;
use http::Request;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use crate::{permit::Permit, permits::LimitPlace, queued_request::QueuedRequest, settings::Bound};

/// A call that waits to be sent: first for a permit, and then until its own clone of the inner
/// service is ready.
pub(crate) struct QueuedCall<S, B, R> {
    // Dropped in this order: the clone's readiness, if any, is given back before the place in the
    // queue.
    inner: S,
    /// Queued while the call waits for a permit, and not while it waits for readiness: then no
    /// permit is held, and none is asked for.
    request: QueuedRequest<B>,
    place: LimitPlace,
    /// When the call is over at the latest, whatever its outcome.
    end: Option<Instant>,
    bound: Option<Bound>,
    /// The timer for the bound; created when the first wait begins.
    sleep: Option<Pin<Box<Sleep>>>,
    reject: R,
}

impl<S, B, R> QueuedCall<S, B, R>
where
    S: Service<Request<B>> + Clone,
{
    pub(crate) fn new(
        place: LimitPlace,
        (bound, end): (Option<Bound>, Option<Instant>),
        inner: S,
        request: Request<B>,
        reject: R,
    ) -> Self {
        Self {
            inner,
            request: QueuedRequest::new(request),
            place,
            end,
            bound,
            sleep: None,
            reject,
        }
    }

    /// Waits until the call may be sent. Then it must be sent at once.
    pub(crate) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Permit, WaitFailure<S::Error>>> {
        match self.poll_both(cx) {
            Poll::Ready(Ok(permit)) => Poll::Ready(match self.rejected() {
                None => Ok(permit),
                Some(rejected) => Err(WaitFailure::Rejected(rejected)),
            }),
            Poll::Ready(Err(error)) => Poll::Ready(Err(WaitFailure::Inner(error))),
            Poll::Pending => self
                .poll_bound(cx)
                .map(|rejected| Err(WaitFailure::Rejected(rejected))),
        }
    }

    /// Sends the request when its turn has come. `permit` is given back if that panics.
    /// `None` if it was sent before.
    pub(crate) fn send(self, permit: Permit) -> Option<(S::Future, Permit)> {
        let Self {
            mut inner,
            mut request,
            place,
            ..
        } = self;
        drop(place);
        let request = request.take()?;
        Some((inner.call(request), permit))
    }

    /// The request, unless it was sent.
    pub(crate) const fn request(&self) -> Option<&Request<B>> {
        self.request.get()
    }

    pub(crate) fn into_reject(self) -> R {
        self.reject
    }

    /// Waits until there are a permit and a ready clone, but never holds one while it waits for the
    /// other.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, S::Error>> {
        // Had a permit, and dropped it, as the clone was not ready.
        let called = !self.request.is_queued();
        if called {
            ready!(self.inner.poll_ready(cx))?;
        }
        if self.place.poll_permit(called, cx).is_pending() {
            if called {
                self.inner = self.inner.clone();
                self.request.join();
            }
            return Poll::Pending;
        }
        let permit = Permit::new(Arc::clone(self.place.limit()), self.end);
        if !called && self.inner.poll_ready(cx)?.is_pending() {
            // The permit is dropped here, and the place is kept.
            self.request.leave();
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
                // Without a runtime, the call is polled again and again, as the queue itself is.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(Rejected::new(bound.reason))
    }

    /// The rejection of a call whose wait has ended although its turn has come: it was polled too
    /// late.
    fn rejected(&self) -> Option<Rejected> {
        let bound = self.bound.filter(|bound| bound.at <= Instant::now())?;
        Some(Rejected::new(bound.reason))
    }
}
