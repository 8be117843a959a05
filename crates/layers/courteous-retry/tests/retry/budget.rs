//! What all calls together spend, whatever comes of them.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use courteous_core::{Elapsed, Gate, RejectReason, Rejected, Scope};
use courteous_retry::{Budget, BudgetBuilder, RetryLayer};
use courteous_testkit::{Probe, Reply, Task, TestBody};
use http::{Method, Response, StatusCode};
use proptest::{collection::vec, option, prelude::*};
use tokio::{
    runtime,
    time::{Instant, sleep, timeout},
};
use tower::Layer;

use crate::support::{closed_until, request, send, steady};

/// What comes of one attempt.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    Success,
    ServerError,
    Throttled,
    Hinted,
    Error,
    /// A limit further in rejects it.
    Full,
    /// A closed limit does, for 70 ms.
    Paused,
    Never,
}

/// One call: when it begins, when its caller gives up, and what comes of its attempts; then they succeed.
#[derive(Clone, Debug)]
struct Call {
    begins: u64,
    dropped_after: Option<u64>,
    attempts: Vec<Attempt>,
}

fn call() -> impl Strategy<Value = Call> {
    use Attempt::*;
    let attempt = prop_oneof![
        2 => Just(Success),
        6 => Just(ServerError),
        2 => Just(Throttled),
        1 => Just(Hinted),
        4 => Just(Error),
        1 => Just(Full),
        2 => Just(Paused),
        1 => Just(Never),
    ];
    (0..2_000_u64, option::of(0..400_u64), vec(attempt, 0..6)).prop_map(
        |(begins, dropped_after, attempts)| Call {
            begins,
            dropped_after,
            attempts,
        },
    )
}

#[derive(Clone)]
struct Script(Arc<Mutex<VecDeque<Attempt>>>);

/// The retries that were sent, and the calls that succeeded.
#[derive(Clone, Default)]
struct Count(Arc<Mutex<(u64, u64)>>);

const START: u64 = 8;

impl Count {
    fn reply(&self, attempt: Attempt, is_retry: bool) -> Reply {
        let mut count = self.0.lock().unwrap();
        let rejected = matches!(attempt, Attempt::Full | Attempt::Paused);
        count.0 += u64::from(is_retry && !rejected);
        // A success deposits a fifth of what a retry costs.
        let (sent, succeeded) = *count;
        assert!(
            5 * sent <= 5 * START + succeeded,
            "{sent} retries after {succeeded} successes"
        );
        count.1 += u64::from(matches!(attempt, Attempt::Success));
        match attempt {
            Attempt::Success => Reply::ok(),
            Attempt::ServerError => Reply::status(503),
            Attempt::Throttled => Reply::status(429),
            Attempt::Hinted => Reply::status(429).header("retry-after-ms", "150"),
            Attempt::Error => Reply::error(),
            Attempt::Full => Reply::fail(Rejected::new(RejectReason::QueueFull)),
            Attempt::Paused => {
                closed_until(tokio::time::Instant::now() + Duration::from_millis(70))
            }
            Attempt::Never => Reply::never(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Spent <= deposits + start, exactly; and what was not sent is paid back.
    #[test]
    fn no_more_retries_are_sent_than_were_earned(calls in vec(call(), 1..40)) {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let count = Count::default();
            let counting = count.clone();
            let probe = Probe::new().otherwise(move |seen| {
                let Script(script) = seen.extensions.get().unwrap();
                let attempt = script.lock().unwrap().pop_front().unwrap_or(Attempt::Success);
                let number = seen.context.attempt().unwrap();
                counting.reply(attempt, number.get() > 1)
            });
            let budget = Budget::builder()
                .price_after_no_response(1)
                .price_after_throttling(1, 1)
                .build()
                .unwrap();
            let layer = steady().with_max_attempts(4).unwrap().with_budget(budget.clone());
            let service = layer.layer(probe.clone());
            let calls: Vec<_> = calls
                .into_iter()
                .map(|call| {
                    let mut request = request(Method::GET);
                    let script = Arc::new(Mutex::new(call.attempts.into()));
                    request.extensions_mut().insert(Script(script));
                    let service = service.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(call.begins)).await;
                        let patience = call.dropped_after.unwrap_or(60_000);
                        let _ = timeout(Duration::from_millis(patience), send(&service, request)).await;
                    })
                })
                .collect();
            for call in calls {
                call.await.expect("no panic");
            }
            assert_eq!((probe.in_flight(), probe.ready_held()), (0, 0));
            assert_eq!(budget.retries(), count.0.lock().unwrap().0, "paid for, and not sent");
            assert!(budget.balance() <= 10.0);
        });
    }
}

/// A 429 by which a throttle further in has closed for this long.
fn gated(pause: Duration) -> Reply {
    let mut response = Response::new(TestBody::new());
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let opens_at = Instant::now() + pause;
    response.extensions_mut().insert(Gate::new(opens_at));
    Reply::response(response)
}

#[tokio::test(start_paused = true)]
async fn a_servers_pauses_alone_buy_no_retries_however_long_they_are() {
    for millis in [1, 500, 999, 1_000, 2_000, 10_000] {
        let pause = Duration::from_millis(millis);
        let probe = Probe::new().otherwise(move |_| gated(pause));
        let layer = steady();
        let service = layer.layer(probe.clone());
        for _ in 0..200 {
            assert!(send(&service, request(Method::GET)).await.is_ok());
        }
        // The start of the budget, and ten gates.
        let free = if millis >= 1_000 { 10 } else { 0 };
        assert_eq!(layer.budget().retries(), START + free, "{pause:?}");
        assert_eq!(probe.calls() as u64, 200 + START + free);
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_waits_at_a_gate_for_nothing_but_not_for_ever() {
    let pause = Duration::from_secs(2);
    let budget = Budget::builder().start(0).deposit(0.0).build().unwrap();
    let layer = steady().with_budget(budget);
    let crowd = async |probe: &Probe| {
        let service = layer.layer(probe.clone());
        let calls: Vec<_> = (0..20)
            .map(|_| tokio::spawn(send(&service, request(Method::GET))))
            .collect();
        let mut answered = 0;
        for call in calls {
            let response = call.await.unwrap().unwrap();
            answered += usize::from(response.status().is_success());
        }
        answered
    };
    for _ in 0..5 {
        let once = Probe::new().replies((0..20).map(|_| gated(pause)));
        assert_eq!(crowd(&once).await, 20, "a success allows for more gates");
    }
    assert_eq!(layer.budget().retries(), 5 * 20);
    let always = Probe::new().otherwise(move |_| gated(pause));
    for _ in 0..20 {
        assert_eq!(crowd(&always).await, 0);
    }
    assert_eq!(layer.budget().retries(), 5 * 20 + 10 * 20);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_a_server_error_has_closed_costs_what_the_error_costs() {
    let mut response = Response::new(TestBody::new());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let opens_at = Instant::now() + Duration::from_secs(5);
    response.extensions_mut().insert(Gate::new(opens_at));
    let layer = steady();
    let probe = Probe::new().replies([Reply::response(response), Reply::status(404)]);
    assert!(
        send(&layer.layer(probe), request(Method::GET))
            .await
            .is_ok()
    );
    assert_eq!(layer.budget().balance(), 7.0);
}

/// The attempts of the calls of a new process, all of which fail.
async fn attempts_of_new_calls(layer: &RetryLayer, reply: fn() -> Reply) -> Vec<usize> {
    let probe = Probe::new().otherwise(move |_| reply());
    let service = layer.layer(probe.clone());
    let mut attempts = Vec::new();
    for _ in 0..6 {
        let before = probe.calls();
        let _ = send(&service, request(Method::GET)).await;
        attempts.push(probe.calls() - before);
    }
    attempts
}

#[tokio::test(start_paused = true)]
async fn four_calls_that_fail_in_a_new_process_have_three_attempts_each() {
    type Failure = (&'static str, fn() -> Reply);
    let failures: [Failure; 5] = [
        ("5xx", || Reply::status(503)),
        ("429", || Reply::status(429)),
        ("timeout", || {
            Reply::fail(Elapsed::new(Duration::from_secs(1), Scope::Attempt))
        }),
        ("refused", || {
            Reply::fail(io::Error::from(io::ErrorKind::ConnectionRefused))
        }),
        ("unknown", Reply::error),
    ];
    for (name, reply) in failures {
        let layer = steady();
        let attempts = attempts_of_new_calls(&layer, reply).await;
        assert_eq!(attempts, [3, 3, 3, 3, 1, 1], "{name}");
        assert_eq!(
            (layer.budget().balance(), layer.budget().retries()),
            (0.0, 8),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_price_of_ones_own_holds_from_the_first_success_on_unless_it_is_0() {
    let build = |budget: BudgetBuilder| steady().with_budget(budget.build().unwrap());
    let dear = build(Budget::builder().price_after_server_error(5));
    let failing = || Reply::status(503);
    assert_eq!(
        attempts_of_new_calls(&dear, failing).await,
        [3, 3, 3, 3, 1, 1]
    );

    let dear = build(Budget::builder().price_after_server_error(2).cap(3, 3));
    let service = dear.layer(Probe::new());
    assert!(send(&service, request(Method::GET)).await.is_ok());
    assert_eq!(
        attempts_of_new_calls(&dear, failing).await,
        [2, 1, 1, 1, 1, 1]
    );

    let free = build(Budget::builder().price_after_server_error(0));
    assert_eq!(attempts_of_new_calls(&free, failing).await, [3; 6]);
    assert_eq!(free.budget().balance(), 8.0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_paid_for_before_the_first_success_and_dropped_after_it_gets_1_back() {
    let layer = steady();
    let probe = Probe::new().replies([Reply::error(), Reply::error()]);
    let service = layer.layer(probe.clone());
    let mut calls = [(); 2].map(|()| Task::new(send(&service, request(Method::GET))));
    for call in &mut calls {
        assert!(call.settle().await.is_pending());
    }
    assert_eq!(layer.budget().balance(), 6.0);
    assert!(send(&service, request(Method::GET)).await.is_ok());
    assert_eq!(layer.budget().balance(), 3.0, "the cap");

    probe.script([Reply::error()]);
    let mut after = Task::new(send(&service, request(Method::GET)));
    assert!(after.settle().await.is_pending());
    assert_eq!(layer.budget().balance(), 1.0);
    let [one, other] = calls;
    drop(one);
    assert_eq!(layer.budget().balance(), 2.0);
    drop(after);
    assert_eq!(layer.budget().balance(), 3.0, "2 came back, up to the cap");
    drop(other);
    assert_eq!(
        (layer.budget().balance(), layer.budget().retries()),
        (3.0, 0)
    );
}
