//! The contract catches layers that break it: a limit of two calls with one fault at a time.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use courteous_core::BoxError;
use courteous_testkit::{CountingBody, Probe, Subject, TestBody, contract};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tower_layer::Layer;
use tower_service::Service;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    ReservesInPollReady,
    CallsAFreshClone,
    WaitsWithReadiness,
    Herd,
    LosesAWakeUp,
    WakesOnce,
    LeaksOnDrop,
    LeaksOnDroppedBody,
    SendsForNobody,
    SwallowsReadinessErrors,
    MakesUpErrors,
    DropsHeaders,
    DropsVersion,
    HidesTheSize,
    HidesTheEnd,
    NeedsARuntime,
    RetriesUnreadied,
    KeepsTheResponse,
}

/// Correct, but for its fault.
#[derive(Clone, Debug)]
struct Limit {
    fault: Fault,
    limit: Arc<State>,
}

#[derive(Clone, Debug)]
struct Limited<S> {
    inner: S,
    reserved: Option<Arc<Permit>>,
    layer: Limit,
}

#[derive(Debug)]
struct State {
    in_use: AtomicUsize,
    line: Arc<Semaphore>,
    waiting: Mutex<Vec<Waker>>,
}

#[derive(Debug)]
struct Permit {
    layer: Limit,
    _line: Option<OwnedSemaphorePermit>,
}

type Inner = CountingBody<TestBody>;

#[derive(Debug, Default)]
struct Guarded {
    inner: Inner,
    permit: Option<Permit>,
}

impl Limit {
    fn new(fault: Fault) -> Self {
        let limit = State {
            in_use: AtomicUsize::new(0),
            line: Arc::new(Semaphore::new(2)),
            waiting: Mutex::default(),
        };
        Self {
            fault,
            limit: Arc::new(limit),
        }
    }

    /// By a line of waiters, or by a herd, which has faults of its own.
    async fn permit(&self) -> Permit {
        if self.has_herd() {
            return poll_fn(|cx| self.poll(cx)).await;
        }
        let permit = self.limit.line.clone().acquire_owned().await.unwrap();
        self.limit.in_use.fetch_add(1, Relaxed);
        Permit::new(self, Some(permit))
    }

    fn has_herd(&self) -> bool {
        use Fault::{Herd, LosesAWakeUp, ReservesInPollReady, WakesOnce};
        matches!(
            self.fault,
            Herd | LosesAWakeUp | ReservesInPollReady | WakesOnce
        )
    }

    fn try_permit(&self) -> Option<Permit> {
        if self.has_herd() {
            return match self.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(permit) => Some(permit),
                Poll::Pending => None,
            };
        }
        let permit = self.limit.line.clone().try_acquire_owned().ok()?;
        self.limit.in_use.fetch_add(1, Relaxed);
        Some(Permit::new(self, Some(permit)))
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Permit> {
        if self.limit.in_use.load(Relaxed) < 2 {
            self.limit.in_use.fetch_add(1, Relaxed);
            return Poll::Ready(Permit::new(self, None));
        }
        let mut waiting = self.limit.waiting.lock().unwrap();
        if self.fault == Fault::LosesAWakeUp {
            waiting.clear();
        }
        waiting.push(cx.waker().clone());
        Poll::Pending
    }
}

impl Permit {
    fn new(layer: &Limit, line: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            layer: layer.clone(),
            _line: line,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let state = &self.layer.limit;
        state.in_use.fetch_sub(1, Relaxed);
        let mut waiting = state.waiting.lock().unwrap();
        if self.layer.fault == Fault::WakesOnce && !waiting.is_empty() {
            waiting.remove(0).wake();
            return;
        }
        waiting.drain(..).for_each(Waker::wake);
    }
}

impl<S> Layer<S> for Limit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        if self.fault == Fault::NeedsARuntime {
            drop(tokio::time::sleep(Duration::ZERO));
        }
        Limited {
            inner,
            reserved: None,
            layer: self.clone(),
        }
    }
}

type Call = Pin<Box<dyn Future<Output = Result<Response<Guarded>, BoxError>> + Send>>;

struct Shown(Call);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl Future for Shown {
    type Output = Result<Response<Guarded>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl Service<Request<Full<Bytes>>> for Limited<Probe> {
    type Response = Response<Guarded>;
    type Error = BoxError;
    type Future = Shown;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let fault = self.layer.fault;
        if fault == Fault::ReservesInPollReady && self.reserved.is_none() {
            self.reserved = Some(Arc::new(ready!(self.layer.poll(cx))));
        }
        let ready = ready!(poll_inner(&mut self.inner, cx));
        if fault == Fault::SwallowsReadinessErrors && ready.is_err() {
            return Poll::Pending;
        }
        Poll::Ready(ready)
    }

    fn call(&mut self, mut request: Request<Full<Bytes>>) -> Shown {
        let layer = self.layer.clone();
        let fault = layer.fault;
        let mut reserved = self.reserved.take().and_then(Arc::into_inner);
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        if reserved.is_none() {
            reserved = layer.try_permit();
        }
        match fault {
            Fault::DropsHeaders => {
                request.headers_mut().remove("x-caller");
            }
            Fault::DropsVersion => *request.version_mut() = http::Version::HTTP_11,
            _ => {}
        }
        if reserved.is_none() && fault != Fault::WaitsWithReadiness {
            inner = self.inner.clone();
        }
        let waits = reserved.is_none();
        let again = request.clone();
        Shown(Box::pin(async move {
            let permit = match reserved {
                Some(permit) => permit,
                None => layer.permit().await,
            };
            if waits && fault != Fault::WaitsWithReadiness {
                poll_fn(|cx| poll_inner(&mut inner, cx)).await?;
            }
            if fault == Fault::CallsAFreshClone {
                inner = inner.clone();
            }
            if fault == Fault::LeaksOnDrop {
                layer.limit.in_use.fetch_add(1, Relaxed);
            }
            if fault == Fault::SendsForNobody {
                let (mut inner, again) = (inner.clone(), again.clone());
                tokio::spawn(async move {
                    tokio::time::sleep_until(Instant::now() + Duration::from_millis(5)).await;
                    let _ = poll_fn(|cx| poll_inner(&mut inner, cx)).await;
                    let _ = inner.call(again).await;
                });
            }
            let mut response = inner.call(request).await;
            if fault == Fault::LeaksOnDrop {
                layer.limit.in_use.fetch_sub(1, Relaxed);
            }
            if response.as_ref().is_ok_and(|one| one.status() == 503) {
                if fault == Fault::RetriesUnreadied {
                    response = inner.call(again).await;
                } else {
                    let kept = (fault == Fault::KeepsTheResponse).then_some(response);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    poll_fn(|cx| poll_inner(&mut inner, cx)).await?;
                    response = inner.call(again).await;
                    drop(kept);
                }
            }
            if fault == Fault::MakesUpErrors && response.is_err() {
                return Err("something failed".into());
            }
            let (parts, inner) = response?.into_parts();
            let ended = inner.is_end_stream();
            let permit = (!ended).then_some(permit);
            Ok(Response::from_parts(parts, Guarded { inner, permit }))
        }))
    }
}

fn poll_inner(inner: &mut Probe, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
    Service::<Request<Full<Bytes>>>::poll_ready(inner, cx)
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        let hides = |permit: &Permit| permit.layer.fault == Fault::HidesTheEnd;
        self.inner.is_end_stream() && !self.permit.as_ref().is_some_and(hides)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.permit {
            Some(permit) if permit.layer.fault == Fault::HidesTheSize => SizeHint::default(),
            _ => self.inner.size_hint(),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && permit.layer.fault == Fault::LeaksOnDroppedBody
            && !self.inner.is_end_stream()
        {
            std::mem::forget(permit);
        }
    }
}

fn subject(fault: Fault) -> Subject<Limit> {
    let layer = Limit::new(fault);
    let limit = layer.limit.clone();
    Subject::new(layer)
        .waits_behind(2)
        .retries(2)
        .gauge("permits", move || limit.in_use.load(Relaxed))
}

contract!(mod without_a_fault {
    subject(Fault::None)
});

macro_rules! caught {
    ($($promise:ident: $($fault:ident)*;)*) => {
        $(
            mod $promise {
                $(
                    #[test]
                    #[allow(non_snake_case)]
                    #[should_panic]
                    fn $fault() {
                        courteous_testkit::contract::$promise(|| super::subject(super::Fault::$fault));
                    }
                )*
            }
        )*
    };
}

caught! {
    poll_ready_reserves_nothing: ReservesInPollReady;
    it_calls_the_instance_that_it_polled: CallsAFreshClone;
    every_attempt_is_readied_afresh: RetriesUnreadied CallsAFreshClone;
    waiting_holds_nothing_of_the_inner_service: WaitsWithReadiness KeepsTheResponse;
    a_dropped_waiter_wakes_the_next: WakesOnce LosesAWakeUp;
    all_waiters_get_through: Herd LosesAWakeUp;
    a_future_dropped_after_any_poll_releases_all: LeaksOnDrop SendsForNobody;
    a_response_dropped_at_any_frame_releases_all: LeaksOnDroppedBody;
    an_inner_readiness_error_comes_through: SwallowsReadinessErrors;
    an_inner_call_error_comes_through: MakesUpErrors;
    the_request_comes_through_unchanged: DropsHeaders DropsVersion;
    the_response_comes_through_unchanged: HidesTheSize HidesTheEnd;
    it_is_built_outside_a_runtime_and_serves_two_in_turn: NeedsARuntime;
}
