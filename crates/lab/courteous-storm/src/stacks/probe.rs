use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use courteous::{
    BoxError,
    core::{CallContext, Origin, Rejected, RequestView},
    find_cause,
};
use http::Request;
use tower::Layer;
use tower_service::Service;

/// Counts the retries that leave a retry layer and are not rejected by an inner limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeLayer {
    seen: Rc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    retries: Cell<u64>,
    origin: RefCell<Option<Origin>>,
}

impl ProbeLayer {
    pub(crate) fn retries(&self) -> u64 {
        self.seen.retries.get()
    }

    /// Where the last request went.
    pub(crate) fn origin(&self) -> Option<Origin> {
        self.seen.origin.borrow().clone()
    }
}

impl<S> Layer<S> for ProbeLayer {
    type Service = Probe<S>;

    fn layer(&self, inner: S) -> Probe<S> {
        Probe {
            inner,
            seen: Rc::clone(&self.seen),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Probe<S> {
    inner: S,
    seen: Rc<Seen>,
}

impl<S, B> Service<Request<B>> for Probe<S>
where
    S: Service<Request<B>, Error = BoxError, Future: 'static>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let attempt = CallContext::of(request.extensions()).attempt();
        let retry = attempt.is_some_and(|attempt| attempt.get() > 1);
        if self.seen.origin.borrow().is_none() {
            let origin = RequestView::of(&request).origin();
            self.seen.origin.replace(Some(origin));
        }
        let attempt = self.inner.call(request);
        if !retry {
            return Box::pin(attempt);
        }
        let seen = Rc::clone(&self.seen);
        seen.retries.set(seen.retries.get() + 1);
        Box::pin(async move {
            let result = attempt.await;
            if let Err(error) = &result
                && find_cause::<Rejected>(&**error).is_some()
            {
                seen.retries.set(seen.retries.get() - 1);
            }
            result
        })
    }
}
