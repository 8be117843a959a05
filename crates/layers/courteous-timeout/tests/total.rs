//! What a total timeout promises.

mod common;

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake},
    time::Duration,
};

use common::{Bytes, Late, MS, SECOND, elapsed, request};
use courteous_core::{BoxError, CallContext, Scope};
use courteous_timeout::{AttemptTimeoutLayer, CallTimeout, TotalTimeoutLayer};
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    task::coop,
    time::{Instant, advance, sleep},
};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

type Answer = Result<Response<Full<Bytes>>, BoxError>;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn answer() -> Answer {
    Ok(Response::new(Full::default()))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_ends_at_the_deadline_and_the_next_one_is_served() {
    let start = Instant::now();
    let served = Arc::new(AtomicUsize::new(0));
    let server = service_fn(|_: Request<Full<Bytes>>| {
        let first = served.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                sleep(60 * SECOND).await;
            }
            answer()
        }
    });
    let mut service = TotalTimeoutLayer::new(SECOND).layer(server);

    let error = service.call(request()).await;
    assert_eq!(elapsed(&error.unwrap_err()), (SECOND, Scope::Total));
    assert_eq!(start.elapsed(), SECOND);

    service.call(request()).await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_readiness_is_covered_and_what_was_not_sent_is_never_sent() {
    let start = Instant::now();
    let server = Late::new(60 * SECOND);
    let mut service = TotalTimeoutLayer::new(SECOND).layer(server.clone());

    let error = service.call(request()).await;
    assert_eq!(elapsed(&error.unwrap_err()), (SECOND, Scope::Total));
    assert_eq!(start.elapsed(), SECOND);
    sleep(120 * SECOND).await;
    assert_eq!(server.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_readiness_in_time_is_used() {
    let start = Instant::now();
    let server = Late::new(999 * MS);
    let service = TotalTimeoutLayer::new(SECOND).layer(server.clone());
    service.oneshot(request()).await.unwrap();
    assert_eq!(start.elapsed(), 999 * MS);
    assert_eq!(server.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn readiness_at_the_deadline_is_too_late_to_send() {
    let server = Late::new(SECOND);
    let service = TotalTimeoutLayer::new(SECOND).layer(server.clone());
    let error = service.oneshot(request()).await.unwrap_err();
    assert_eq!(elapsed(&error), (SECOND, Scope::Total));
    assert_eq!(server.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_response_future_first_polled_after_its_deadline_sends_nothing() {
    let server = Late::new(Duration::ZERO);
    let mut service = TotalTimeoutLayer::new(SECOND).layer(server.clone());
    let mut call = task::spawn(service.call(request()));
    advance(SECOND).await;
    let error = assert_ready!(call.poll()).unwrap_err();
    assert_eq!(elapsed(&error), (SECOND, Scope::Total));
    assert_eq!(server.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_here_at_the_deadline_is_still_a_response() {
    let start = Instant::now();
    let service = TotalTimeoutLayer::new(SECOND).layer(service_fn(async |_: Request<_>| {
        sleep(SECOND).await;
        answer()
    }));
    service.oneshot(request()).await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_wakes_the_call_and_not_a_tick_earlier() {
    let mut service = TotalTimeoutLayer::new(SECOND)
        .layer(service_fn(|_: Request<Full<Bytes>>| pending::<Answer>()));
    let mut call = task::spawn(service.call(request()));
    assert_pending!(call.poll());
    sleep(999 * MS).await;
    assert!(!call.is_woken());
    sleep(MS).await;
    assert!(call.is_woken());
    assert!(assert_ready!(call.poll()).is_err());
    assert_pending!(call.poll()); // not a panic
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_spends_the_tasks_whole_budget_times_out_too() {
    let start = Instant::now();
    let busy = service_fn(|_: Request<Full<Bytes>>| {
        poll_fn(|cx| {
            while coop::has_budget_remaining() {
                let _ = std::pin::pin!(coop::consume_budget()).poll(cx);
            }
            cx.waker().wake_by_ref();
            Poll::<Answer>::Pending
        })
    });
    let service = TotalTimeoutLayer::new(SECOND).layer(busy);
    let call = tokio::spawn(service.oneshot(request()));
    tokio::task::yield_now().await;
    advance(SECOND).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(elapsed(&error), (SECOND, Scope::Total));
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_layers_inside_are_told_the_deadline() {
    let deadline = Instant::now() + 5 * SECOND;
    let service = TotalTimeoutLayer::new(5 * SECOND).layer(service_fn(async |r: Request<_>| {
        let context = CallContext::of(r.extensions());
        Response::builder()
            .extension(context)
            .body(Full::<Bytes>::default())
    }));
    let response = service.oneshot(request()).await.unwrap();
    let context = response.extensions().get::<CallContext>().unwrap();
    assert_eq!(context.deadline(), Some(deadline));
}

#[tokio::test(start_paused = true)]
async fn of_nested_deadlines_the_earliest_wins() {
    for (outer, inner) in [(3, 5), (5, 3)] {
        let start = Instant::now();
        let service = ServiceBuilder::new()
            .layer(TotalTimeoutLayer::new(outer * SECOND))
            .layer(TotalTimeoutLayer::new(inner * SECOND))
            .service(service_fn(|_: Request<Full<Bytes>>| pending::<Answer>()));
        let error = service.oneshot(request()).await.unwrap_err();
        assert_eq!(elapsed(&error), (3 * SECOND, Scope::Total));
        assert_eq!(start.elapsed(), 3 * SECOND);
    }
}

/// Whichever layer notices that the deadline has struck, it tells the timeout that was set.
#[tokio::test(start_paused = true)]
async fn the_limit_of_a_late_call_is_its_timeout_and_not_what_an_inner_layer_had_left() {
    let late = async |inner: Duration| {
        let inner = ServiceBuilder::new()
            .layer(TotalTimeoutLayer::new(inner))
            .layer(AttemptTimeoutLayer::new(inner))
            .service(service_fn(|_: Request<Full<Bytes>>| pending::<Answer>()));
        let queue = service_fn(move |request| {
            let inner = inner.clone();
            async {
                sleep(4700 * MS).await;
                inner.oneshot(request).await
            }
        });
        let service = TotalTimeoutLayer::new(5 * SECOND).layer(queue);
        elapsed(&service.oneshot(request()).await.unwrap_err())
    };
    assert_eq!(late(60 * SECOND).await, (5 * SECOND, Scope::Total));
    assert_eq!(late(SECOND).await, (5 * SECOND, Scope::Total));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_from_outside_strikes_in_an_inner_layer_as_the_time_that_was_left() {
    let mut request = request();
    CallContext::edit(request.extensions_mut()).tighten(Instant::now() + SECOND);
    sleep(400 * MS).await;
    let error = TotalTimeoutLayer::new(5 * SECOND)
        .layer(service_fn(|_: Request<Full<Bytes>>| pending::<Answer>()))
        .oneshot(request)
        .await
        .unwrap_err();
    assert_eq!(elapsed(&error), (600 * MS, Scope::Total));
}

#[tokio::test(start_paused = true)]
async fn a_requests_own_timeout_replaces_the_layers_but_no_deadline_from_outside() {
    let hanging = service_fn(|_: Request<Full<Bytes>>| pending::<Answer>());
    let service = TotalTimeoutLayer::new(SECOND).layer(hanging);
    for (own, deadline, expected) in [(3, None, 3), (3, Some(2), 2), (1, Some(2), 1)] {
        let start = Instant::now();
        let mut request = request();
        request.extensions_mut().insert(CallTimeout(own * SECOND));
        if let Some(deadline) = deadline {
            CallContext::edit(request.extensions_mut()).tighten(start + deadline * SECOND);
        }
        let error = service.clone().oneshot(request).await.unwrap_err();
        assert_eq!(elapsed(&error), (expected * SECOND, Scope::Total));
        assert_eq!(start.elapsed(), expected * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_timeout_of_zero_nothing_is_sent() {
    for late in [Duration::ZERO, SECOND] {
        let start = Instant::now();
        let server = Late::new(late);
        let service = TotalTimeoutLayer::new(Duration::ZERO).layer(server.clone());
        let error = service.oneshot(request()).await.unwrap_err();
        assert_eq!(elapsed(&error), (Duration::ZERO, Scope::Total));
        assert_eq!((start.elapsed(), server.calls()), (Duration::ZERO, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_timeout_is_none_and_no_length_panics() {
    // The longest timeout that the clock can hold, found bit by bit: a timer, which rounds up,
    // cannot.
    let seconds = (0..64).rev().map(|bit| Duration::from_secs(1 << bit));
    let nanos = (0..30).rev().map(|bit| Duration::from_nanos(1 << bit));
    let latest = seconds.chain(nanos).fold(Duration::ZERO, |sum, more| {
        let is_held = Instant::now().checked_add(sum.saturating_add(more));
        is_held.map_or(sum, |_| sum + more)
    });
    let long = [latest, latest - MS, latest - 2 * MS, Duration::MAX];
    for timeout in long {
        let mut request = request();
        request.extensions_mut().insert(CallTimeout(timeout));
        let service = TotalTimeoutLayer::new(SECOND).layer(service_fn(async |_: Request<_>| {
            sleep(1_000_000 * SECOND).await;
            answer()
        }));
        service.oneshot(request).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_timeout_still_heeds_a_deadline_from_outside() {
    let mut request = request();
    CallContext::edit(request.extensions_mut()).tighten(Instant::now() + SECOND);
    let error = TotalTimeoutLayer::new(Duration::MAX)
        .layer(service_fn(|_: Request<Full<Bytes>>| pending::<Answer>()))
        .oneshot(request)
        .await
        .unwrap_err();
    assert_eq!(elapsed(&error), (SECOND, Scope::Total));
}

#[tokio::test(start_paused = true)]
async fn inner_errors_come_through_as_they_are() {
    let service = TotalTimeoutLayer::new(SECOND).layer(service_fn(async |_: Request<_>| {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::from(std::io::ErrorKind::BrokenPipe))
    }));
    let error = service.oneshot(request()).await.unwrap_err();
    let error = error.downcast::<std::io::Error>().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_is_the_calls_error() {
    let (broken, mut handle) =
        tower_test::mock::pair::<Request<Full<Bytes>>, Response<Full<Bytes>>>();
    handle.send_error("broken");
    let mut service = TotalTimeoutLayer::new(SECOND).layer(broken);
    let error = service.call(request()).await;
    assert_eq!(error.unwrap_err().to_string(), "broken");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_gives_up_the_readiness_that_it_waited_for() {
    let server = Late::new(SECOND);
    let mut service = TotalTimeoutLayer::new(5 * SECOND).layer(server.clone());
    let idle = server.alive();
    let mut call = task::spawn(service.call(request()));
    assert_pending!(call.poll());
    assert_eq!(server.alive(), idle + 1);
    drop(call);
    assert_eq!(server.alive(), idle);
    sleep(10 * SECOND).await;
    assert_eq!(server.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_resolved_holds_nothing_before_it_is_dropped() {
    let held = Arc::new(());
    let server = service_fn(|_: Request<Full<Bytes>>| {
        let held = held.clone();
        async move {
            sleep(60 * SECOND).await;
            drop(held);
            answer()
        }
    });
    let mut service = TotalTimeoutLayer::new(SECOND).layer(server);
    let mut call = task::spawn(service.call(request()));
    assert_pending!(call.poll());
    assert_eq!(Arc::strong_count(&held), 2);
    sleep(SECOND).await;
    assert!(assert_ready!(call.poll()).is_err());
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_answered_is_not_woken_at_the_deadline() {
    let mut service = TotalTimeoutLayer::new(SECOND).layer(service_fn(async |_: Request<_>| {
        sleep(500 * MS).await;
        answer()
    }));
    let mut call = task::spawn(service.call(request()));
    assert_pending!(call.poll());
    sleep(500 * MS).await;
    assert_ready_ok!(call.poll());
    sleep(SECOND).await;
    assert!(!call.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_no_timer() {
    let mut service = TotalTimeoutLayer::new(SECOND)
        .layer(service_fn(|_: Request<Full<Bytes>>| pending::<Answer>()));
    let mut call = Box::pin(service.call(request()));
    let wakes = Arc::new(Wakes::default());
    let waker = wakes.clone().into();
    assert_pending!(call.as_mut().poll(&mut Context::from_waker(&waker)));
    drop(waker);
    assert_eq!(Arc::strong_count(&wakes), 2, "the timer holds a waker");
    drop(call);
    assert_eq!(Arc::strong_count(&wakes), 1);
    sleep(2 * SECOND).await;
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_call_that_never_waits_needs_no_timer_and_so_no_runtime() {
    static LAYER: LazyLock<TotalTimeoutLayer> = LazyLock::new(|| TotalTimeoutLayer::new(SECOND));
    let mut service = LAYER.layer(service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let mut call = task::spawn(service.call(request()));
    assert_ready_ok!(call.poll());
}
