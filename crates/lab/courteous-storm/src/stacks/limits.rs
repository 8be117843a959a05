//! Adaptive limits of other projects, as a layer in virtual time.
//!
//! The crates' own services measure with the operating system's clock. So their algorithms run
//! here inside a service of ours, which does what theirs does with its semaphore.

mod algorithms;

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use courteous::{
    BoxError,
    core::{RejectReason, Rejected},
};
use http::{Request, Response};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tower::Layer;
use tower_service::Service;

pub(crate) use self::algorithms::{
    acc_aimd, acc_gradient2, acc_vegas, failsafe, netflix, resilience_aimd, resilience_vegas,
    vector,
};

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Success,
    /// An answer that says no, as 503 and 500 do.
    Refused,
    /// No answer: an attempt timeout, or no connection.
    Failed,
}

/// An attempt that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) seen: Seen,
    /// How many attempts were in flight when it started, itself included.
    pub(crate) at_start: usize,
    /// And how many are in flight when it ends: without itself, but with the attempt that gets its
    /// permit.
    pub(crate) at_end: usize,
}

/// A rule for the limit.
pub(crate) trait Algorithm {
    fn limit(&self) -> usize;

    /// An attempt starts: so many are in flight now.
    fn start(&mut self, in_flight: usize) {
        let _ = in_flight;
    }

    fn learn(&mut self, sample: &Sample);
}

/// What happens to a call for which there is no permit, and to permits that are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It waits, oldest first. Permits are taken away only if no call waits for them, so that the
    /// limit does not fall while calls wait.
    WaitAndKeep,
    /// It waits, oldest first. Permits are taken away as soon as they come back.
    Wait,
    /// It is rejected.
    Reject,
}

/// The limit of one client.
#[derive(Clone)]
pub(crate) struct LimitLayer {
    shared: Rc<Shared>,
}

struct Shared {
    algorithm: RefCell<Box<dyn Algorithm>>,
    manner: Manner,
    semaphore: Arc<Semaphore>,
    size: Cell<usize>,
    /// Permits to take away when they come back.
    owed: Cell<usize>,
    in_flight: Cell<usize>,
}

impl LimitLayer {
    pub(crate) fn new((algorithm, manner): (Box<dyn Algorithm>, Manner)) -> Self {
        let size = algorithm.limit();
        Self {
            shared: Rc::new(Shared {
                algorithm: RefCell::new(algorithm),
                manner,
                semaphore: Arc::new(Semaphore::new(size)),
                size: Cell::new(size),
                owed: Cell::new(0),
                in_flight: Cell::new(0),
            }),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.get()
    }
}

impl Shared {
    async fn admit(self: Rc<Self>) -> Result<Flight, BoxError> {
        let semaphore = Arc::clone(&self.semaphore);
        let permit = match self.manner {
            Manner::Reject => (semaphore.try_acquire_owned())
                .map_err(|_| Rejected::new(RejectReason::AtCapacity))?,
            Manner::Wait | Manner::WaitAndKeep => semaphore.acquire_owned().await?,
        };
        let in_flight = self.in_flight.get() + 1;
        self.in_flight.set(in_flight);
        self.algorithm.borrow_mut().start(in_flight);
        Ok(Flight {
            limit: self,
            permit: Some(permit),
            start: Instant::now(),
            at_start: in_flight,
            seen: None,
        })
    }

    fn release(&self, permit: OwnedSemaphorePermit) {
        self.in_flight.set(self.in_flight.get() - 1);
        match self.owed.get() {
            0 => drop(permit),
            owed => {
                self.owed.set(owed - 1);
                permit.forget();
            }
        }
    }

    fn resize(&self) {
        let (old, new) = (self.size.get(), self.algorithm.borrow().limit());
        if new > old {
            let paid = self.owed.get().min(new - old);
            self.owed.set(self.owed.get() - paid);
            self.semaphore.add_permits(new - old - paid);
            self.size.set(new);
        } else if new < old {
            let gone = self.semaphore.forget_permits(old - new);
            if self.manner == Manner::WaitAndKeep {
                self.size.set(old - gone);
            } else {
                self.owed.set(self.owed.get() + old - new - gone);
                self.size.set(new);
            }
        }
    }
}

/// An attempt in flight. If it is dropped, no algorithm learns from it.
struct Flight {
    limit: Rc<Shared>,
    permit: Option<OwnedSemaphorePermit>,
    start: Instant,
    at_start: usize,
    seen: Option<Seen>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.limit.release(permit);
        }
        if let Some(seen) = self.seen {
            let free = self.limit.semaphore.available_permits();
            self.limit.algorithm.borrow_mut().learn(&Sample {
                now: Instant::now(),
                start: self.start,
                seen,
                at_start: self.at_start,
                at_end: self.limit.size.get().saturating_sub(free),
            });
        }
        self.limit.resize();
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit {
            inner,
            shared: Rc::clone(&self.shared),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Limit<S> {
    inner: S,
    shared: Rc<Shared>,
}

impl<S, B, RB> Service<Request<B>> for Limit<S>
where
    S: Service<Request<B>, Response = Response<RB>, Error = BoxError> + Clone + 'static,
    S::Future: 'static,
    B: 'static,
{
    type Response = Response<RB>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<RB>, BoxError>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let mut flight = shared.admit().await?;
            let result = inner.call(request).await;
            flight.seen = Some(match &result {
                Ok(response) if response.status().is_success() => Seen::Success,
                Ok(_) => Seen::Refused,
                Err(_) => Seen::Failed,
            });
            drop(flight);
            result
        })
    }
}
