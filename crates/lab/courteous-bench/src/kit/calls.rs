use std::{
    fmt,
    future::{Future, poll_fn},
    hint::black_box,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::runtime::Runtime;
use tower::Service;

use super::Request;

/// A way to make calls.
pub(crate) trait Calls {
    /// Makes this many calls with requests from `make`, one after the other, and drops the
    /// responses.
    fn run(&mut self, times: usize, make: &dyn Fn() -> Request);

    /// The size of a response future.
    fn future_bytes(&self) -> usize;
}

/// The full name of [`collected`].
pub(super) const COLLECTED: &str = concat!(module_path!(), "::collected");

/// Runs `calls` under a name that a profiler can be given.
#[inline(never)]
pub(crate) fn collected(calls: &mut dyn Calls, times: usize, make: &dyn Fn() -> Request) {
    calls.run(times, make);
    // So that this is not a tail call, which would end the function before the work.
    black_box(());
}

/// Polls the calls by hand, inside an entered runtime, so that only the calls are measured. With
/// `clone`, each call has its own clone of the service.
pub(crate) fn by_hand<S>(service: S, clone: bool) -> Box<dyn Calls>
where
    S: Service<Request, Error: fmt::Debug> + Clone + 'static,
{
    match clone {
        true => Box::new(Cloning { service }),
        false => Box::new(LongLived { service }),
    }
}

struct LongLived<S> {
    service: S,
}

impl<S> Calls for LongLived<S>
where
    S: Service<Request, Error: fmt::Debug>,
{
    fn run(&mut self, times: usize, make: &dyn Fn() -> Request) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..times {
            let request = make();
            let ready = self.service.poll_ready(&mut cx);
            assert!(matches!(ready, Poll::Ready(Ok(()))), "not ready");
            finish(self.service.call(request), &mut cx);
        }
    }

    fn future_bytes(&self) -> usize {
        size_of::<S::Future>()
    }
}

struct Cloning<S> {
    service: S,
}

impl<S> Calls for Cloning<S>
where
    S: Service<Request, Error: fmt::Debug> + Clone,
{
    fn run(&mut self, times: usize, make: &dyn Fn() -> Request) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..times {
            let request = make();
            let mut service = black_box(&self.service).clone();
            let ready = service.poll_ready(&mut cx);
            assert!(matches!(ready, Poll::Ready(Ok(()))), "not ready");
            let call = service.call(request);
            drop(service);
            finish(call, &mut cx);
        }
    }

    fn future_bytes(&self) -> usize {
        size_of::<S::Future>()
    }
}

fn finish<F, R, E>(call: F, cx: &mut Context<'_>)
where
    F: Future<Output = Result<R, E>>,
    E: fmt::Debug,
{
    let mut call = pin!(call);
    // The transport is pending once at most: a call that is pending for longer would be waiting for
    // something else.
    for _ in 0..2 {
        if let Poll::Ready(outcome) = call.as_mut().poll(cx) {
            if let Err(error) = black_box(outcome) {
                panic!("the call failed: {error:?}");
            }
            return;
        }
    }
    panic!("the call waits");
}

/// Lets a runtime poll the calls, for a contender that has its own task.
pub(crate) fn in_runtime<S>(service: S, clone: bool, runtime: Rc<Runtime>) -> Box<dyn Calls>
where
    S: Service<Request, Error: fmt::Debug> + Clone + 'static,
{
    Box::new(InRuntime {
        service,
        clone,
        runtime,
    })
}

struct InRuntime<S> {
    service: S,
    clone: bool,
    runtime: Rc<Runtime>,
}

impl<S> Calls for InRuntime<S>
where
    S: Service<Request, Error: fmt::Debug> + Clone,
{
    fn run(&mut self, times: usize, make: &dyn Fn() -> Request) {
        self.runtime.block_on(async {
            for _ in 0..times {
                let request = make();
                let mut cloned = self.clone.then(|| self.service.clone());
                let service = cloned.as_mut().unwrap_or(&mut self.service);
                let ready = poll_fn(|cx| service.poll_ready(cx)).await;
                assert!(ready.is_ok(), "not ready");
                let call = service.call(request);
                drop(cloned);
                if let Err(error) = black_box(call.await) {
                    panic!("the call failed: {error:?}");
                }
            }
        });
    }

    fn future_bytes(&self) -> usize {
        size_of::<S::Future>()
    }
}
