#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use courteous_core::{BoxError, RejectReason, Rejected, find_cause};
use http::{Request, Response};
use http_body_util::Full;
use tokio_test::task::{self, Spawn};
use tower::Service;

/// Longer than any promise lasts.
pub(crate) const LAPSE: Duration = Duration::from_millis(11);

pub(crate) type Body = Full<&'static [u8]>;

pub(crate) fn limit(limit: usize) -> NonZeroUsize {
    NonZeroUsize::new(limit).unwrap()
}

pub(crate) fn request() -> Request<()> {
    Request::new(())
}

/// Answers at once, with a body that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Echo;

impl<B> Service<Request<B>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Response::new(Full::new(b"body"))))
    }
}

/// A call of `service`, which is ready.
pub(crate) fn call<S: Service<Request<()>>>(service: &mut S) -> Spawn<S::Future> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    task::spawn(service.call(request()))
}

/// Why a call was rejected.
pub(crate) fn reason<T>(result: Result<T, BoxError>) -> Option<RejectReason> {
    let error = result.err()?;
    find_cause::<Rejected>(&*error).map(Rejected::reason)
}

/// Becomes ready when the test says so, instance by instance, and knows how many instances are
/// ready.
///
/// A clone is not ready, and calling an instance that is not panics.
#[derive(Debug)]
pub(crate) struct Gated {
    door: Arc<Door>,
    ready: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Door {
    open: AtomicUsize,
    pub(crate) ready: AtomicUsize,
    pub(crate) clones: AtomicUsize,
    pub(crate) calls: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
}

impl Gated {
    /// A service of which `open` instances can become ready.
    pub(crate) fn new(open: usize) -> (Self, Arc<Door>) {
        let door = Arc::new(Door::default());
        door.open(open);
        let gated = Self {
            door: Arc::clone(&door),
            ready: false,
        };
        (gated, door)
    }
}

impl Door {
    /// Lets `more` instances become ready.
    pub(crate) fn open(&self, more: usize) {
        self.open.fetch_add(more, Ordering::Relaxed);
        let wakers: Vec<_> = self.wakers.lock().unwrap().drain(..).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    pub(crate) fn clones(&self) -> usize {
        self.clones.load(Ordering::Relaxed)
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Clone for Gated {
    fn clone(&self) -> Self {
        self.door.clones.fetch_add(1, Ordering::Relaxed);
        Self {
            door: Arc::clone(&self.door),
            ready: false,
        }
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        if self.ready {
            self.door.ready.fetch_sub(1, Ordering::Relaxed);
            self.door.open(1);
        }
    }
}

impl Service<Request<()>> for Gated {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        let open = &self.door.open;
        if (open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            open.checked_sub(1)
        }))
        .is_err()
        {
            self.door.wakers.lock().unwrap().push(cx.waker().clone());
            return Poll::Pending;
        }
        self.ready = true;
        self.door.ready.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(self.ready, "called without being ready");
        self.ready = false;
        self.door.ready.fetch_sub(1, Ordering::Relaxed);
        self.door.calls.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new(Full::new(b"body"))))
    }
}
