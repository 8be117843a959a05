//! How calls wait for a permit.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, LazyLock, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use common::{Echo, LAPSE, call, limit, request};
use courteous_concurrency::{ConcurrencyLimitLayer, Limiter};
use tokio::{runtime, time};
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, Service};

#[tokio::test(start_paused = true)]
async fn calls_are_admitted_in_the_order_in_which_they_were_made() {
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let (mut second, mut third) = (call(&mut service), call(&mut service));
    // Polled in the opposite order.
    assert_pending!(third.poll());
    assert_pending!(second.poll());
    drop(first);
    assert!(second.is_woken());
    assert!(!third.is_woken());
    let second = assert_ready_ok!(second.poll());
    assert!(!third.is_woken());
    drop(second);
    assert!(third.is_woken());
    assert_ready_ok!(third.poll());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_a_waiter_that_was_woken() {
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let mut second = call(&mut service);
    assert_pending!(second.poll());
    drop(first);
    assert_pending!(call(&mut service).poll());
    assert_ready_ok!(second.poll());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_not_polled_delays_nobody_for_long() {
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let (mut sleepy, mut next) = (call(&mut service), call(&mut service));
    assert_pending!(sleepy.poll());
    assert_pending!(next.poll());
    drop(first);
    assert!(sleepy.is_woken());
    time::sleep(Duration::from_millis(4)).await;
    assert!(!next.is_woken());
    time::sleep(Duration::from_millis(7)).await;
    assert!(next.is_woken());
    let next = assert_ready_ok!(next.poll());

    // Its place in the queue is kept by its age.
    let mut youngest = call(&mut service);
    assert_pending!(youngest.poll());
    assert_pending!(sleepy.poll());
    drop(next);
    assert!(sleepy.is_woken());
    assert!(!youngest.is_woken());
    assert_ready_ok!(sleepy.poll());
}

/// The worked example at the head of `permit_queue.rs` in courteous-limit.
#[tokio::test(start_paused = true)]
async fn a_late_waiter_takes_the_permit_of_a_younger_one_that_was_not_polled_yet() {
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let (mut late, mut younger) = (call(&mut service), call(&mut service));
    assert_pending!(late.poll());
    assert_pending!(younger.poll());
    drop(first);
    assert!(late.is_woken());
    time::sleep(LAPSE).await;
    assert!(younger.is_woken(), "the promise to the late one has lapsed");
    let late = assert_ready_ok!(late.poll());
    assert_pending!(younger.poll());
    let mut youngest = call(&mut service);
    assert_pending!(youngest.poll());
    drop(late);
    assert!(younger.is_woken() && !youngest.is_woken());
    assert_ready_ok!(younger.poll());
}

#[tokio::test(start_paused = true)]
async fn a_promise_that_is_looked_at_too_late_lapses_at_the_first_look() {
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let (mut sleepy, mut next) = (call(&mut service), call(&mut service));
    assert_pending!(sleepy.poll());
    assert_pending!(next.poll());
    drop(first);
    time::advance(LAPSE).await;
    tokio::task::yield_now().await;
    assert!(next.is_woken());
    assert_ready_ok!(next.poll());
}

#[tokio::test(start_paused = true)]
async fn a_promise_lapses_also_when_nobody_waits_behind() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let mut other = ConcurrencyLimitLayer::from(limiter.clone())
        .fail_fast()
        .layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let mut sleepy = call(&mut service);
    assert_pending!(sleepy.poll());
    drop(first);
    assert!(matches!(call(&mut other).poll(), Poll::Ready(Err(_))));
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 1));
    time::sleep(LAPSE).await;
    let other = assert_ready_ok!(call(&mut other).poll());
    assert_pending!(sleepy.poll());
    drop(other);
    assert!(sleepy.is_woken());
    assert_ready_ok!(sleepy.poll());
}

#[tokio::test(start_paused = true)]
async fn waiters_that_are_all_polled_late_are_admitted_nevertheless() {
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let mut waiting: Vec<_> = (0..3).map(|_| call(&mut service)).collect();
    for waiting in &mut waiting {
        assert_pending!(waiting.poll());
    }
    drop(first);
    time::sleep(2 * LAPSE).await;
    assert!(waiting.iter().all(|waiting| waiting.is_woken()));
    // The first waiter was promised the permit that the last one has now.
    let response = assert_ready_ok!(waiting[0].poll());
    assert_pending!(waiting[1].poll());
    assert_pending!(waiting[2].poll());
    drop(response);
    assert_ready_ok!(waiting[1].poll());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_was_never_polled_is_passed_over() {
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let (mut unpolled, mut next) = (call(&mut service), call(&mut service));
    assert_pending!(next.poll());
    drop(first);
    assert!(next.is_woken());
    assert_pending!(unpolled.poll());
    drop(assert_ready_ok!(next.poll()));
    assert_ready_ok!(unpolled.poll());
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_polled_one_after_another_need_no_timer() {
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let calls: Vec<_> = (0..100).map(|_| service.call(request())).collect();
    let start = time::Instant::now();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_higher_limit_admits_those_who_wait() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    let mut waiting: Vec<_> = (0..3).map(|_| call(&mut service)).collect();
    for waiting in &mut waiting {
        assert_pending!(waiting.poll());
    }
    limiter.set_limit(3).unwrap();
    assert_eq!(limiter.limit(), limit(3));
    let woken: Vec<_> = waiting.iter().map(|waiting| waiting.is_woken()).collect();
    assert_eq!(woken, [true, true, false]);
    let _second = assert_ready_ok!(waiting[0].poll());
    let _third = assert_ready_ok!(waiting[1].poll());
    assert_eq!((limiter.in_flight(), limiter.waiting()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_limit_below_what_is_in_flight_takes_nothing_away() {
    let limiter = Limiter::new(3).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let mut responses: Vec<_> = (0..3)
        .map(|_| assert_ready_ok!(call(&mut service).poll()))
        .collect();
    limiter.set_limit(1).unwrap();
    assert_eq!(limiter.in_flight(), 3);
    let mut waiting = call(&mut service);
    assert_pending!(waiting.poll());
    for left in [2, 1] {
        responses.pop();
        assert_eq!(limiter.in_flight(), left);
        assert!(!waiting.is_woken());
    }
    responses.pop();
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
}

#[tokio::test(start_paused = true)]
async fn a_lower_limit_also_holds_for_waiters_that_were_woken_before() {
    let limiter = Limiter::new(2).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let second = assert_ready_ok!(call(&mut service).poll());
    let mut waiting = call(&mut service);
    assert_pending!(waiting.poll());
    drop(second);
    assert!(waiting.is_woken());
    limiter.set_limit(1).unwrap();
    assert_pending!(waiting.poll());
    assert_eq!(limiter.in_flight(), 1);
    drop(first);
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
}

#[tokio::test(start_paused = true)]
async fn one_limiter_serves_stacks_around_different_services() {
    let limiter = Limiter::new(1).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone());
    let mut one = layer.layer(Echo);
    let mut two = layer.layer(common::Gated::new(9).0);
    let first = assert_ready_ok!(call(&mut one).poll());
    let mut second = call(&mut two);
    assert_pending!(second.poll());
    drop(first);
    let _second = assert_ready_ok!(second.poll());
    assert_pending!(call(&mut one.clone()).poll());
    assert_eq!(limiter.in_flight(), 1);
}

#[test]
fn a_static_limiter_outlives_its_runtimes() {
    static LIMITER: LazyLock<Limiter> = LazyLock::new(|| Limiter::new(1).unwrap());
    let mut service = ConcurrencyLimitLayer::from(LIMITER.clone()).layer(Echo);
    let mut left_over = Vec::new();
    for _ in 0..2 {
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let first = assert_ready_ok!(call(&mut service).poll());
            let (mut sleepy, mut next) = (call(&mut service), call(&mut service));
            assert_pending!(sleepy.poll());
            assert_pending!(next.poll());
            drop(first);
            time::sleep(LAPSE).await;
            assert!(sleepy.is_woken());
            assert!(next.is_woken());
            drop(assert_ready_ok!(next.poll()));
            // The waiter has a promised permit and is not polled when the runtime is gone.
            let first = assert_ready_ok!(call(&mut service).poll());
            assert_pending!(sleepy.poll());
            drop(first);
            left_over.push(sleepy);
            time::sleep(LAPSE).await;
        });
        assert_eq!(LIMITER.in_flight(), 0);
    }
    left_over.clear();
    assert_eq!((LIMITER.in_flight(), LIMITER.waiting()), (0, 0));
}

#[test]
fn waiting_works_without_a_runtime() {
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let first = assert_ready_ok!(call(&mut service).poll());
    let mut second = call(&mut service);
    assert_pending!(second.poll());
    assert!(!second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll());
}

/// Polls futures by hand, in the order in which they are woken.
struct Executor {
    woken: Arc<Mutex<VecDeque<usize>>>,
}

struct Wakeup {
    number: usize,
    woken: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap().push_back(self.number);
    }
}

impl Executor {
    fn poll<F: Future>(&self, number: usize, future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        let woken = Arc::clone(&self.woken);
        let waker = Waker::from(Arc::new(Wakeup { number, woken }));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn next(&self) -> Option<usize> {
        self.woken.lock().unwrap().pop_front()
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_waiters_are_drained_in_order_with_one_wake_up_each() {
    const WAITERS: usize = 100_000;
    let limiter = Limiter::new(64).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let executor = Executor {
        woken: Arc::default(),
    };
    let mut in_flight: VecDeque<_> = (0..64)
        .map(|_| assert_ready_ok!(call(&mut service).poll()))
        .collect();
    let mut waiting: Vec<_> = (0..WAITERS)
        .map(|_| Box::pin(service.call(request())))
        .collect();
    for (number, future) in waiting.iter_mut().enumerate() {
        assert!(executor.poll(number, future).is_pending());
    }
    assert_eq!(limiter.waiting(), WAITERS);
    assert_eq!(executor.next(), None);
    for (number, future) in waiting.iter_mut().enumerate() {
        in_flight.pop_front();
        assert_eq!(executor.next(), Some(number));
        assert_eq!(executor.next(), None);
        let Poll::Ready(Ok(response)) = executor.poll(number, future) else {
            panic!("woken for nothing");
        };
        in_flight.push_back(response);
    }
    in_flight.clear();
    assert_eq!(executor.next(), None);
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
}

#[test]
fn a_waiter_sets_no_timer_until_it_is_promised_a_permit() {
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let paused = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    paused.block_on(async {
        let first = assert_ready_ok!(call(&mut service).poll());
        let waiting = call(&mut service);
        let start = time::Instant::now();
        // While no task can run, a paused clock jumps to the next timer, whatever it is.
        let other = std::thread::spawn(move || {
            // Some milliseconds, in which the runtime's thread has nothing to do.
            (0..1_000_000).for_each(|_| std::hint::spin_loop());
            drop(first);
        });
        waiting.into_inner().await.unwrap();
        other.join().unwrap();
        // A thread outside the runtime reads the real clock, so the elapsed time is not exactly
        // zero.
        assert!(start.elapsed() < Duration::from_secs(3600));
    });
}
