use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use courteous_concurrency::{AsError, ConcurrencyLimit, ConcurrencyLimitLayer};
use courteous_core::{BoxError, LongLived, Origin};
#[cfg(feature = "dead-letter")]
use courteous_dead_letter::{DeadLetter, DeadLetterLayer};
use courteous_idempotency::{IdempotencyKey, IdempotencyKeyLayer};
use courteous_retry::{Retry, RetryLayer};
use courteous_throttle::{PerOrigin, Throttle, ThrottleLayer};
use courteous_timeout::{AttemptTimeout, AttemptTimeoutLayer, TotalTimeout, TotalTimeoutLayer};
use http::Request;
use pin_project_lite::pin_project;
#[cfg(feature = "dead-letter")]
use tower::util::{Either, option_layer};
use tower_layer::Layer;
use tower_service::Service;

use crate::Error;

/// The layers of a [`Stack`](crate::Stack), outermost first.
#[derive(Clone, Debug)]
pub(crate) struct Layers<P> {
    pub(crate) key: IdempotencyKeyLayer,
    #[cfg(feature = "dead-letter")]
    pub(crate) dead_letter: Option<DeadLetterLayer>,
    pub(crate) total: TotalTimeoutLayer,
    pub(crate) retry: RetryLayer,
    pub(crate) concurrency: ConcurrencyLimitLayer<AsError, Origin>,
    pub(crate) throttle: ThrottleLayer<P>,
    pub(crate) attempt: AttemptTimeoutLayer,
}

type Limited<S, P> = ConcurrencyLimit<Throttle<AttemptTimeout<S>, P>, AsError, Origin>;
type Timed<S, P> = TotalTimeout<Retry<Limited<S, P>>>;
#[cfg(feature = "dead-letter")]
type Recorded<S, P> = Either<DeadLetter<Timed<S, P>>, Timed<S, P>>;
#[cfg(not(feature = "dead-letter"))]
type Recorded<S, P> = Timed<S, P>;
type Layered<S, P> = IdempotencyKey<Recorded<S, P>>;

impl<P> Layers<P> {
    pub(crate) fn with_throttle<Q>(self, throttle: ThrottleLayer<Q>) -> Layers<Q> {
        Layers {
            key: self.key,
            #[cfg(feature = "dead-letter")]
            dead_letter: self.dead_letter,
            total: self.total,
            retry: self.retry,
            concurrency: self.concurrency,
            throttle,
            attempt: self.attempt,
        }
    }
}

impl<P: Clone> Layers<P> {
    pub(crate) fn around<S>(&self, client: S) -> Layered<S, P> {
        let limited = self.throttle.layer(self.attempt.layer(client));
        let limited = self.concurrency.layer(limited);
        let whole = self.total.layer(self.retry.layer(limited));
        #[cfg(feature = "dead-letter")]
        let whole = option_layer(self.dead_letter.clone()).layer(whole);
        self.key.layer(whole)
    }
}

/// A client with the whole stack around it: what [`StackLayer`](crate::StackLayer) makes.
///
/// # Readiness
///
/// Always ready: the client's readiness is waited for inside of the call, where the total timeout covers it.
///
/// # Cancel safety
///
/// Dropping the response future, or later the response's body, ends the call and gives back all that it held.
///
/// # Errors
///
/// [`Error`], if the last attempt had no response. A response is returned as it is, whatever its status.
#[derive(Clone)]
pub struct Courteous<S, P = PerOrigin> {
    inner: Layered<S, P>,
    streaming: bool,
}

impl<S, P> Courteous<S, P> {
    pub(crate) const fn new(inner: Layered<S, P>, streaming: bool) -> Self {
        Self { inner, streaming }
    }

    /// The client.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        let timed = self.inner.get_ref();
        #[cfg(feature = "dead-letter")]
        let timed = match timed {
            Either::Left(recorded) => recorded.get_ref(),
            Either::Right(timed) => timed,
        };
        let limited = timed.get_ref().get_ref();
        limited.get_ref().get_ref().get_ref()
    }

    /// The client, without the stack.
    #[must_use]
    pub fn into_inner(self) -> S {
        let timed = self.inner.into_inner();
        #[cfg(feature = "dead-letter")]
        let timed = match timed {
            Either::Left(recorded) => recorded.into_inner(),
            Either::Right(timed) => timed,
        };
        let limited = timed.into_inner().into_inner();
        limited.into_inner().into_inner().into_inner()
    }
}

impl<S, P, B> Service<Request<B>> for Courteous<S, P>
where
    Layered<S, P>: Service<Request<B>, Error = BoxError>,
{
    type Response = <Layered<S, P> as Service<Request<B>>>::Response;
    type Error = Error;
    type Future = ResponseFuture<<Layered<S, P> as Service<Request<B>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if self.streaming {
            request.extensions_mut().insert(LongLived);
        }
        ResponseFuture {
            inner: self.inner.call(request),
        }
    }
}

impl<S: fmt::Debug, P: fmt::Debug> fmt::Debug for Courteous<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Courteous").field(&self.inner).finish()
    }
}

pin_project! {
    /// The response of a [`Courteous`] client.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, R> Future for ResponseFuture<F>
where
    F: Future<Output = Result<R, BoxError>>,
{
    type Output = Result<R, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx).map_err(Error::new)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
