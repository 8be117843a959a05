//! The bound on sends, under schedules that seem unlikely.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use courteous_throttle::{Bucket, Cost, Rate, ThrottleLayer};
use http::{Request, Response};
use proptest::prelude::*;
use support::{assert_bound, ready_call, request};
use tokio::{
    runtime::Builder,
    time::{self, Instant},
};
use tokio_test::task;
use tower::{Layer, service_fn};

/// What a request pays. The service counts it.
#[derive(Clone, Copy)]
struct Paid(u32);

#[derive(Clone, Copy, Debug)]
enum Step {
    Call {
        cost: u32,
    },
    /// Polls a call that waits, whether it was woken or not.
    Poll(usize),
    PollAll,
    Drop(usize),
    Sleep(u64),
    Close(u64),
    /// Sets half the rates, or the whole ones again.
    SetRate {
        half: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..4u32).prop_map(|cost| Step::Call { cost }),
        3 => any::<usize>().prop_map(Step::Poll),
        1 => Just(Step::PollAll),
        1 => any::<usize>().prop_map(Step::Drop),
        4 => (0..400u64).prop_map(Step::Sleep),
        1 => (0..500u64).prop_map(Step::Close),
        1 => any::<bool>().prop_map(|half| Step::SetRate { half }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_window_holds_more_than_burst_and_rate_allow(
        tokens in 1..50u32,
        burst in 3..8u32,
        other in prop::option::of(3..30u32),
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let sends = runtime.block_on(run(tokens, burst, other, &steps));
        assert_bound(&sends, burst, f64::from(tokens));
        if let Some(other) = other {
            assert_bound(&sends, other, f64::from(other) / 3.0);
        }
    }
}

async fn run(tokens: u32, burst: u32, other: Option<u32>, steps: &[Step]) -> Vec<(Instant, u32)> {
    let sends = Arc::new(Mutex::new(Vec::new()));
    let inner = {
        let sends = Arc::clone(&sends);
        service_fn(move |request: Request<()>| {
            let cost = request.extensions().get::<Paid>().unwrap().0;
            sends.lock().unwrap().push((Instant::now(), cost));
            std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(())))
        })
    };
    let burst = NonZeroU32::new(burst).unwrap();
    let rates = |half: bool| {
        let per = |seconds| Duration::from_secs(seconds) * if half { 2 } else { 1 };
        let mut rates = vec![Rate::new(tokens, per(1)).unwrap().with_burst(burst)];
        rates.extend(other.map(|other| {
            let rate = Rate::new(other, per(3)).unwrap();
            rate.with_burst(NonZeroU32::new(other).unwrap())
        }));
        rates
    };
    let mut bucket = Bucket::new(rates(false)[0]);
    if let Some(&other) = rates(false).get(1) {
        bucket = bucket.and(other);
    }
    let mut service = ThrottleLayer::from(bucket.clone()).layer(inner);
    let mut waiting = Vec::new();
    let mut made = 0;
    let mut dropped = 0;
    for step in steps {
        match *step {
            Step::Call { cost } => {
                let mut request = request(0);
                request.extensions_mut().insert(Cost::new(cost));
                request.extensions_mut().insert(Paid(cost));
                made += 1;
                let mut call = task::spawn(ready_call(&mut service, request));
                if call.poll().is_pending() {
                    waiting.push(call);
                }
            }
            Step::Poll(i) if !waiting.is_empty() => {
                let i = i % waiting.len();
                if waiting[i].poll().is_ready() {
                    drop(waiting.remove(i));
                }
            }
            Step::PollAll => waiting.retain_mut(|call| call.poll().is_pending()),
            Step::Drop(i) if !waiting.is_empty() => {
                drop(waiting.swap_remove(i % waiting.len()));
                dropped += 1;
            }
            Step::Sleep(millis) => time::sleep(Duration::from_millis(millis)).await,
            Step::Close(millis) => {
                bucket.close_until(Instant::now() + Duration::from_millis(millis))
            }
            Step::SetRate { half } => bucket.set_rates(&rates(half)),
            Step::Poll(_) | Step::Drop(_) => {}
        }
    }
    bucket.set_rates(&rates(false));
    // No waiter is forgotten: from here on they are polled only when woken, and all get through.
    waiting.retain_mut(|call| call.poll().is_pending());
    let mut patience = 1_000;
    while !waiting.is_empty() {
        time::sleep(Duration::from_millis(500)).await;
        waiting.retain_mut(|call| !call.is_woken() || call.poll().is_pending());
        patience -= 1;
        assert!(patience > 0, "{} were never woken", waiting.len());
    }
    assert_eq!(bucket.waiting(), 0);
    let sends = sends.lock().unwrap().clone();
    assert_eq!(sends.len(), made - dropped);
    sends
}
