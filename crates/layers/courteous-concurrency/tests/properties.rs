//! Properties that hold whatever the callers do.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Body, Echo, LAPSE, request};
use courteous_concurrency::{
    AsError, ConcurrencyLimit, ConcurrencyLimitLayer, Limiter, PermitBody, ResponseFuture,
};
use courteous_core::CallContext;
use http::{Request, Response};
use proptest::prelude::*;
use tokio::{runtime, time};
use tokio_test::task::{self, Spawn};
use tower::{Layer, Service, ServiceExt};

type Call = Spawn<ResponseFuture<Echo, (), <Echo as Service<http::Request<()>>>::Future, AsError>>;

#[derive(Clone, Debug)]
enum Step {
    /// With a deadline that is far away, if that is true.
    Call(bool),
    Poll(usize),
    DropCall(usize),
    DropResponse(usize),
    SetLimit(usize),
    Sleep(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Call),
        4 => any::<usize>().prop_map(Step::Poll),
        1 => any::<usize>().prop_map(Step::DropCall),
        3 => any::<usize>().prop_map(Step::DropResponse),
        1 => (1..5_usize).prop_map(Step::SetLimit),
        1 => (1..15_u64).prop_map(Step::Sleep),
    ]
}

fn request_with(deadline: bool) -> Request<()> {
    let mut request = request();
    if deadline {
        let deadline = time::Instant::now() + Duration::from_secs(3_600);
        CallContext::edit(request.extensions_mut()).tighten(deadline);
    }
    request
}

struct World {
    limiter: Limiter,
    service: ConcurrencyLimit<Echo>,
    /// Whether each call has a deadline.
    calls: VecDeque<(Call, bool)>,
    responses: Vec<Response<PermitBody<Body>>>,
}

impl World {
    fn new(permits: usize) -> Self {
        let limiter = Limiter::new(permits).unwrap();
        let service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
        Self {
            limiter,
            service,
            calls: VecDeque::new(),
            responses: Vec::new(),
        }
    }

    /// Calls that were admitted when they were made are in flight before they are polled.
    fn step(&mut self, step: &Step) -> Option<Duration> {
        match *step {
            Step::Call(hurried) => {
                let call = task::spawn(self.service.call(request_with(hurried)));
                self.calls.push_back((call, hurried));
            }
            Step::Poll(at) if !self.calls.is_empty() => {
                let at = at % self.calls.len();
                self.poll(at);
            }
            Step::DropCall(at) if !self.calls.is_empty() => {
                drop(self.calls.remove(at % self.calls.len()));
            }
            Step::DropResponse(at) if !self.responses.is_empty() => {
                drop(self.responses.remove(at % self.responses.len()));
            }
            Step::SetLimit(permits) => self.limiter.set_limit(permits).unwrap(),
            Step::Sleep(millis) => return Some(Duration::from_millis(millis)),
            _ => {}
        }
        None
    }

    fn poll(&mut self, at: usize) -> bool {
        if let std::task::Poll::Ready(response) = self.calls[at].0.poll() {
            drop(self.calls.remove(at));
            self.responses.push(response.unwrap());
            return true;
        }
        false
    }

    /// Polls all calls until none of them makes progress.
    fn settle(&mut self) {
        let mut at = 0;
        while at < self.calls.len() {
            at = if self.poll(at) { 0 } else { at + 1 };
        }
    }

    fn check(&self) {
        let (in_flight, waiting) = (self.limiter.in_flight(), self.limiter.waiting());
        assert!(in_flight >= self.responses.len());
        assert_eq!(
            in_flight + waiting,
            self.responses.len() + self.calls.len(),
            "{self:?}"
        );
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.limiter.fmt(f)
    }
}

fn paused<T>(future: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #[test]
    fn permits_are_neither_lost_nor_made(steps in prop::collection::vec(step(), 0..200)) {
        paused(async {
            let mut world = World::new(2);
            let mut most = 2;
            for step in &steps {
                let held = world.limiter.in_flight();
                if let Some(pause) = world.step(step) {
                    time::sleep(pause).await;
                }
                world.check();
                most = most.max(world.limiter.limit().get());
                let now = world.limiter.in_flight();
                assert!(now <= most);
                assert!(now <= held || now <= world.limiter.limit().get());
            }
            // A call that is polled when there is room is admitted: those with a deadline newest
            // first, the others oldest first.
            time::sleep(LAPSE).await;
            world.settle();
            world.check();
            assert!(world.calls.is_empty() || world.limiter.in_flight() >= world.limiter.limit().get());
            while !world.calls.is_empty() {
                drop(world.responses.pop());
                let woken = world.calls.iter().position(|(call, _)| call.is_woken());
                if let Some(woken) = woken {
                    let hurried = world.calls[woken].1;
                    let is_alike = |(_, other): &&(Call, bool)| *other == hurried;
                    assert!(match hurried {
                        true => world.calls.range(woken + 1..).find(is_alike).is_none(),
                        false => world.calls.range(..woken).find(is_alike).is_none(),
                    });
                }
                world.settle();
            }
            world.responses.clear();
            assert_eq!((world.limiter.in_flight(), world.limiter.waiting()), (0, 0));
        });
    }

    #[test]
    fn half_of_a_thousand_waiters_can_be_dropped(
        dropped in prop::collection::vec(any::<bool>(), 1000),
        when in 0..1000_usize,
        hurried in any::<bool>(),
    ) {
        paused(async {
            let mut world = World::new(3);
            for _ in 0..1003 {
                world.step(&Step::Call(hurried));
            }
            world.settle();
            assert_eq!(world.calls.len(), 1000);
            let calls = world.calls.drain(..).map(|(call, _)| call);
            let mut kept: VecDeque<_> = calls.zip(dropped).collect();
            if hurried {
                kept.make_contiguous().reverse();
            }
            let (mut done, mut left) = (0, kept.iter().filter(|(_, dropped)| !dropped).count());
            while left > 0 {
                if done == when.min(left - 1) {
                    kept.retain(|(_, dropped)| !dropped);
                }
                drop(world.responses.pop());
                let (mut first, dropped) = kept.pop_front().unwrap();
                assert!(first.is_woken());
                assert!(kept.iter().take(3).all(|(next, _)| !next.is_woken()));
                let std::task::Poll::Ready(Ok(response)) = first.poll() else {
                    panic!("woken for nothing");
                };
                world.responses.push(response);
                left -= usize::from(!dropped);
                done += 1;
            }
            drop(kept);
            world.responses.clear();
            assert_eq!((world.limiter.in_flight(), world.limiter.waiting()), (0, 0));
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_race_stay_within_the_limit_and_all_get_their_turn() {
    let limiter = Limiter::new(3).unwrap();
    let service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let (at_work, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (service, at_work, most) = (service.clone(), at_work.clone(), most.clone());
            tokio::spawn(async move {
                for round in 0..2_000 {
                    let response = service.clone().oneshot(request()).await.unwrap();
                    let now = at_work.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    if (round + number) % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    at_work.fetch_sub(1, Ordering::SeqCst);
                    drop(response);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
}
