//! The order of sends, on an executor that is too slow.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
    time::Duration,
};

use courteous_throttle::{Rate, ThrottleLayer};
use http::{Request, Response};
use proptest::prelude::*;
use tokio::{runtime::Builder, time};
use tower::{Layer, Service, service_fn};

/// An executor's queue of tasks to be polled.
#[derive(Default)]
struct RunQueue(Mutex<VecDeque<usize>>);

struct Task {
    index: usize,
    queue: Arc<RunQueue>,
}

impl RunQueue {
    fn push(&self, index: usize) {
        let mut queue = self.0.lock().unwrap();
        if !queue.contains(&index) {
            queue.push_back(index);
        }
    }

    fn pop(&self) -> Option<usize> {
        self.0.lock().unwrap().pop_front()
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.queue.push(self.index);
    }
}

type Call = Pin<Box<dyn Future<Output = Result<Response<()>, courteous_core::BoxError>>>>;

/// Makes `calls` calls, each in a task of its own. Each poll takes the next time of `costs`, in
/// microseconds, or one microsecond when they run out. Every `parked`th task is polled only once.
///
/// Returns which of the other calls were sent after a wait, in order, and how many polls that took.
/// (A call that finds a token and an empty queue is sent at once.)
async fn sends(
    rate: Rate,
    calls: usize,
    parked: Option<usize>,
    costs: &[u64],
) -> (Vec<usize>, usize) {
    let is_parked = |index: usize| parked.is_some_and(|parked| index.is_multiple_of(parked));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let inner = {
        let sent = Arc::clone(&sent);
        service_fn(move |request: Request<usize>| {
            sent.lock().unwrap().push(request.into_body());
            std::future::ready(Ok::<_, Infallible>(Response::new(())))
        })
    };
    let service = ThrottleLayer::new(rate).layer(inner);
    let queue = Arc::new(RunQueue::default());
    (0..calls).for_each(|index| queue.push(index));
    let mut tasks: Vec<Option<Call>> = (0..calls).map(|_| None).collect();
    let mut costs = costs.iter().copied();
    let mut polls = 0;
    let mut waited = vec![false; calls];
    let mut left = (0..calls).filter(|&index| !is_parked(index)).count();
    while left > 0 {
        assert!(polls < 30 * calls, "not all are sent");
        let Some(index) = queue.pop() else {
            time::advance(Duration::from_micros(100)).await;
            continue;
        };
        if is_parked(index) && waited[index] {
            continue;
        }
        let task =
            tasks[index].get_or_insert_with(|| Box::pin(service.clone().call(Request::new(index))));
        let waker = Waker::from(Arc::new(Task {
            index,
            queue: Arc::clone(&queue),
        }));
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            tasks[index] = Some(Box::pin(std::future::pending()));
            left -= usize::from(!is_parked(index));
        } else {
            waited[index] = true;
        }
        polls += 1;
        time::advance(Duration::from_micros(costs.next().unwrap_or(1))).await;
    }
    let mut sent = sent.lock().unwrap().clone();
    sent.retain(|&index| waited[index] && !is_parked(index));
    (sent, polls)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_overtaken_or_held_up_on_an_executor_that_is_too_slow(
        tokens in 1..30u32,
        burst in 1..40u32,
        calls in 20..200usize,
        parked in prop::option::of(2..20usize),
        costs in prop::collection::vec(prop_oneof![4 => 0..50u64, 1 => 0..3_000u64], 0..800),
    ) {
        let rate = Rate::new(tokens, Duration::from_millis(1)).unwrap();
        let rate = rate.with_burst(NonZeroU32::new(burst).unwrap());
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (sent, polls) = runtime.block_on(sends(rate, calls, parked, &costs));
        prop_assert!(sent.is_sorted(), "in {polls} polls: {sent:?}");
    }
}
