//! Bugs that other clients have had. Here each is a promise, and a test keeps it.
//!
//! This file has the promises that no other test keeps. The others:
//!
//! | what went wrong | what is promised, and where |
//! |---|---|
//! | all sessions of a backoff drew the same "random" delays | `two_calls_do_not_share_their_luck_and_a_seed_repeats_it` (`courteous-backoff/tests/backoff.rs`), `two_calls_draw_their_jitter_independently` (`courteous-retry/tests/retry/main.rs`) |
//! | jitter lost the fractions of a second | `no_fraction_of_a_second_is_lost`, `the_fractions_of_a_second_are_spread_as_well` (`courteous-backoff/tests/backoff.rs`) |
//! | no jitter at the cap, or for the first delay; or above the cap | `full_jitter_is_uniform_from_zero_also_for_the_first_retry_and_at_the_cap`, `no_delay_is_above_the_cap_and_none_panics` (same) |
//! | powers of two that overflowed, and no cap by default | `by_default_it_doubles_from_100_ms_up_to_20_s_with_full_jitter`, `no_delay_is_above_the_cap_and_none_panics` (same) |
//! | a budget that grew with time alone | `our_budget_grants_nothing_for_time_alone` (`tests/versus_tower.rs`), `time_alone_earns_nothing_however_long_it_is` (`courteous-retry/src/ledger.rs`) |
//! | tokens of a budget lost with a call that was dropped | `what_was_paid_comes_back_only_if_the_retry_is_dropped_in_its_wait` (`courteous-retry/tests/retry/main.rs`), `a_retry_pays_for_what_it_sent_and_for_nothing_else` (`tests/leaks.rs`) |
//! | a timeout that did not cover the wait for readiness | `our_timeout_covers_the_wait_for_a_permit` (`tests/versus_tower.rs`) |
//! | the last response or error lost | `the_last_response_is_returned_readable_with_the_reason_for_the_stop`, `the_last_error_is_the_source_with_what_the_last_response_said` (`courteous-retry/tests/retry/main.rs`) |
//! | an idle clone that was ready starved all others | `a_ready_but_idle_clone_holds_none_of_our_permits` (`tests/versus_tower.rs`), `poll_ready_reserves_nothing` (contract) |
//! | all waiters woke at once and raced, or spun | `a_hundred_thousand_waiters_are_each_woken_once_and_in_order` (`courteous-throttle/tests/throttle.rs`), `a_hundred_thousand_waiters_are_drained_in_order_with_one_wake_up_each` (`courteous-concurrency/tests/waiting.rs`), `all_waiters_get_through` (contract) |
//! | twice the burst at the edge of a fixed window | `our_rate_has_no_edges_at_which_it_doubles` (`tests/versus_tower.rs`), `no_window_holds_more_than_burst_and_rate_allow` (`courteous-throttle/tests/bound.rs`) |
//! | capacity lost with a waiter that was dropped | `a_waiter_dropped_after_it_was_woken_gives_its_token_to_the_next` (`courteous-throttle/tests/throttle.rs`), `tests/leaks.rs`, `a_dropped_waiter_wakes_the_next` (contract) |
//! | inner permits held while a token was waited for | `waiting_holds_nothing_of_the_inner_service` (contract) |
//! | a rate limit that could not be cloned | `our_throttle_can_be_cloned_and_its_clones_share_the_rate` (`tests/versus_tower.rs`) |
//! | layers that needed a runtime to be built | `it_is_built_outside_a_runtime_and_serves_two_in_turn` (contract), `a_stack_is_built_outside_of_a_runtime_and_gives_its_client_back` (`courteous/tests/stack.rs`) |
//! | a limit of zero that was pending for ever | `a_limit_of_zero_is_rejected_where_it_is_written` (`courteous-concurrency/tests/rejection.rs`) |
//! | a POST sent again on a 503, or if there was no response, or for the first retry at least | `a_post_without_a_key_is_sent_once_on_every_failure_but_one_before_sending` (`courteous-retry/tests/retry/main.rs`), `an_end_after_the_request_is_sent_again_only_with_a_key` (`tests/hyper_http1.rs`), `tests/chaos.rs` |
//! | the failed response and its connection kept through the backoff | `the_failed_response_is_drained_within_bounds_and_let_go_before_the_wait` (`courteous-retry/tests/retry/main.rs`), `nothing_of_a_discarded_response_is_held_but_what_it_said` (`courteous-retry/tests/retry/edges.rs`) |
//! | the failed response not drained, and so its connection lost | `a_small_discarded_body_is_drained_and_its_connection_used_again` (`tests/hyper_http1.rs`) |
//! | a further attempt without readiness | `every_attempt_is_readied_afresh` (contract) |
//! | a chunk of a body sent twice, a panic on an early answer, an empty body on a retry | `every_attempt_that_is_given_gives_what_the_source_gave` (`courteous-body/tests/replay/interleavings.rs`), `every_attempt_gives_the_same_however_the_one_before_it_stopped` (`courteous-body/tests/replay/main.rs`), `an_upload_that_was_answered_early_fails_when_the_next_attempt_takes_over` (`courteous-retry/tests/retry/edges.rs`) |
//! | `Retry-After: 1742893200` slept for 55 years | `a_time_since_1970_is_understood` (`courteous-hints/tests/hints.rs`) |
//! | `inf`, `1e9` and `+5` read as numbers | `signs_exponents_and_words_are_no_number` (`courteous-hints/src/number.rs`), `a_malformed_value_is_as_if_it_were_not_there` (`courteous-hints/tests/hints.rs`) |
//! | a hint that was too long replaced by a shorter wait | `retry_after_is_a_floor_and_too_much_of_it_is_an_end` (`courteous-retry/tests/retry/main.rs`) |
//! | a dozen allocations for a stack, and events built without a subscriber | `a_call_that_neither_waits_nor_fails_allocates_exactly_this_often` (`tests/allocations.rs`) |
//! | types of request, response and error in the type of a layer | `one_layer_stands_around_a_router_and_around_a_channel` (`tests/tonic.rs`) |
//!
//! *Contract*: a test of every layer and of every pair of layers, by `courteous-testkit`.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod parts;

use std::{
    cell::Cell,
    convert::Infallible,
    error, fmt,
    future::{Future, ready},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use courteous::{
    BoxError, Courteous, Error, Stack,
    concurrency::Limiter,
    core::Rejected,
    find_cause,
    retry::{Backoff, Budget, Jitter, RetryInfo, RetryLayer, StopReason},
};
use courteous_testkit::{Probe, Reply};
use futures_util::{FutureExt, future::join_all};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use tokio::time::{Instant, advance};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;

use crate::parts::{limit_of, retry_waiting, throttle_of};

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn put() -> Request<Full<Bytes>> {
    let request = Request::put("http://api.test/notes/1");
    request.body(Full::from("a note")).unwrap()
}

async fn readied<S>(service: &mut S) -> &mut S
where
    S: Service<Request<Full<Bytes>>, Error: fmt::Debug>,
{
    service.ready().await.unwrap()
}

fn stacked<S>(retry: RetryLayer, inner: S) -> Courteous<S> {
    let stack = Stack::new()
        .with_retry(retry)
        .with_total_timeout(60 * SECOND)
        .with_attempt_timeout(25 * SECOND);
    stack.build().unwrap().layer(inner)
}

/// Successes while `is_well`, and 503 otherwise.
fn moody(well: usize) -> Probe {
    let replies = (0..well).map(|_| Reply::ok());
    Probe::new()
        .replies(replies)
        .otherwise(|_| Reply::status(503))
}

// Deposits of 0.6, 0.7 and 0.9 were rounded to 1.
#[tokio::test(start_paused = true)]
async fn each_deposit_buys_its_own_number_of_retries() {
    for (deposit, retries) in [
        (0.1, 30),
        (0.2, 60),
        (0.6, 180),
        (0.7, 210),
        (0.9, 270),
        (1.0, 300),
    ] {
        let budget = Budget::builder()
            .deposit(deposit)
            .start(0)
            .cap(1000, 1000)
            .build()
            .unwrap();
        let probe = moody(300);
        let layer = retry_waiting(Duration::from_millis(10)).with_budget(budget.clone());
        let client = layer.layer(probe.clone());
        for _ in 0..700 {
            client.clone().oneshot(put()).await.unwrap();
        }
        assert_eq!(
            (budget.retries(), probe.calls()),
            (retries, 700 + retries as usize)
        );
    }
}

// A budget and a rate caught up with each second that they had missed: this took 1.7 s for a year,
// and here it would take minutes.
#[tokio::test(start_paused = true)]
async fn a_year_of_idleness_costs_the_next_call_nothing() {
    let (throttle, bucket) = throttle_of(1000, 10);
    let budget = Budget::new();
    let probe = moody(3);
    let client = retry_waiting(Duration::from_millis(10))
        .with_budget(budget.clone())
        .layer(throttle.layer(probe.clone()));
    for _ in 0..100 {
        advance(YEAR).await;
        client.clone().oneshot(put()).await.unwrap();
    }
    assert!(probe.calls() > 100 && bucket.available() <= 10);
    assert!(budget.balance() < 1.0);
}

// The budget was asked after the sleep, so every sleeping call got its retry.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_retry_has_paid_and_who_cannot_pay_does_not_wait() {
    let budget = Budget::builder()
        .deposit(0.0)
        .start(3)
        .cap(3, 3)
        .build()
        .unwrap();
    let probe = moody(0);
    let client = retry_waiting(10 * SECOND)
        .with_budget(budget)
        .layer(probe.clone());
    let start = Instant::now();
    let calls = (0..100).map(|_| {
        let client = client.clone();
        async move {
            let response = client.oneshot(put()).await.unwrap();
            (start.elapsed(), RetryInfo::of(&response))
        }
    });
    let ends = join_all(calls).await;
    let at_once = ends.iter().filter(|(end, _)| *end == Duration::ZERO);
    assert_eq!((at_once.count(), probe.calls()), (97, 103));
    for (_, info) in ends {
        assert_eq!(info.stop_reason(), StopReason::BudgetExhausted);
    }
}

// The check and the withdrawal were two steps, and in between other calls could take the same
// token.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_budget_is_spent_once_by_calls_that_race() {
    let budget = Budget::builder()
        .deposit(0.0)
        .start(500)
        .cap(500, 500)
        .build()
        .unwrap();
    let probe = moody(0).pending_polls(0);
    let client = retry_waiting(Duration::ZERO)
        .with_budget(budget.clone())
        .layer(probe.clone());
    let tasks = (0..8).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                client.clone().oneshot(put()).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!((budget.retries(), probe.calls()), (500, 8 * 200 + 500));
}

// The remaining time was read before the backoff and used after it: 60 s ended at 75.
#[tokio::test(start_paused = true)]
async fn a_total_timeout_holds_whatever_attempts_and_waits_add_up_to() {
    for wait in [0, 1, 5, 10, 15, 20, 40] {
        let client = stacked(
            retry_waiting(wait * SECOND).with_budget(Budget::unlimited()),
            Probe::new().otherwise(|_| Reply::never()),
        );
        let start = Instant::now();
        assert!(client.oneshot(put()).await.unwrap_err().is_timeout());
        assert!(
            (25 * SECOND..=60 * SECOND).contains(&start.elapsed()),
            "{wait}"
        );
    }

    // The third attempt would have begun at 70 s, so the call returns the second attempt's answer.
    let slow = Probe::new().otherwise(|_| Reply::status(503).after(20 * SECOND));
    let retry = retry_waiting(15 * SECOND).with_budget(Budget::unlimited());
    let start = Instant::now();
    let response = stacked(retry, slow).oneshot(put()).await.unwrap();
    assert_eq!(
        (start.elapsed(), response.status().as_u16()),
        (55 * SECOND, 503)
    );
    assert_eq!(RetryInfo::of(&response).stop_reason(), StopReason::Deadline);
}

// "60 s in total" slept for 1024 s, or slept until the deadline for nothing.
#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_end_in_time_is_not_begun_and_the_answer_is_kept() {
    for status in [429, 503] {
        let reply = Reply::status(status)
            .header("retry-after", "1024")
            .body("why");
        let client = stacked(RetryLayer::new(), Probe::new().replies([reply]));
        let start = Instant::now();
        let response = client.oneshot(put()).await.unwrap();
        assert_eq!(
            (start.elapsed(), response.status().as_u16()),
            (Duration::ZERO, status)
        );
        let info = RetryInfo::of(&response);
        assert_eq!(info.attempts(), 1);
        assert!(info.not_before().unwrap() >= start + 1024 * SECOND);
    }
}

// A panic was reported as a timeout.
#[tokio::test(start_paused = true)]
async fn a_panic_is_a_panic_and_breaks_no_other_call() {
    let inner = service_fn(|request: Request<Full<Bytes>>| async move {
        assert!(request.uri().path() != "/panic", "as told");
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let client = stacked(RetryLayer::new(), inner);
    let mut request = put();
    *request.uri_mut() = "http://api.test/panic".parse().unwrap();
    for _ in 0..100 {
        let call = tokio::spawn(client.clone().oneshot(request.clone()));
        assert!(call.await.unwrap_err().is_panic());
    }
    assert_eq!(client.oneshot(put()).await.unwrap().status(), 200);
}

// A caller that was rejected once took the freed permit and kept it: all calls were rejected with
// nothing in flight.
#[tokio::test(start_paused = true)]
async fn a_caller_that_was_rejected_and_stays_takes_no_permit_with_it() {
    let (layer, limiter): (_, Limiter) = limit_of(1);
    let probe = Probe::new().replies([Reply::never()]);
    let client = layer.fail_fast().layer(probe.clone());
    let mut first = client.clone();
    let mut first = Box::pin(readied(&mut first).await.call(put()));
    assert!((&mut first).now_or_never().is_none());

    let mut rejected = client.clone();
    let error = readied(&mut rejected).await.call(put()).await.unwrap_err();
    assert!(find_cause::<Rejected>(&*error).is_some());
    readied(&mut rejected).await; // and stays
    drop(first);
    for _ in 0..10 {
        assert_eq!(limiter.in_flight(), 0);
        client.clone().oneshot(put()).await.unwrap();
    }
    rejected.call(put()).await.unwrap();
}

#[derive(Debug)]
struct Outer(Root);

#[derive(Debug)]
struct Root;

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer")
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("line down")
    }
}

impl error::Error for Outer {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.0)
    }
}

impl error::Error for Root {}

// Errors were wrapped in new errors that did not name their source, or named it twice.
#[tokio::test(start_paused = true)]
async fn an_error_keeps_all_of_its_sources_and_each_text_is_there_once() {
    let probe = Probe::new().otherwise(|_| Reply::fail(Outer(Root)));
    let error: Error = stacked(RetryLayer::new(), probe)
        .oneshot(put())
        .await
        .unwrap_err();
    let mut texts = Vec::new();
    let mut next: Option<&dyn error::Error> = Some(&error);
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    for text in ["no answer", "line down"] {
        let times = texts.iter().filter(|level| level.contains(text)).count();
        assert_eq!(times, 1, "{texts:?}");
    }
    assert!(find_cause::<Root>(&error).is_some());
}

/// Neither `Clone` nor `Send` nor `Sync`: a body, an error, and a future of a response.
struct Local(Rc<Cell<u32>>);

impl Body for Local {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

impl From<Local> for BoxError {
    fn from(_: Local) -> Self {
        "local".into()
    }
}

// Errors had to be `Clone` and responses `Sync`, which no client's types are.
#[tokio::test(start_paused = true)]
async fn what_a_client_yields_need_not_be_clone_or_send_or_sync() {
    type Answer = Pin<Box<dyn Future<Output = Result<Response<Local>, Local>>>>;

    let calls = Rc::new(Cell::new(0));
    let inner = service_fn(|_: Request<Full<Bytes>>| -> Answer {
        let local = Local(Rc::clone(&calls));
        local.0.set(local.0.get() + 1);
        Box::pin(ready(match local.0.get() {
            1 => Err(local),
            _ => Ok(Response::new(local)),
        }))
    });
    let client = stacked(
        RetryLayer::new().with_backoff(Backoff::constant(SECOND).with_jitter(Jitter::None)),
        inner,
    );
    assert!(client.oneshot(put()).await.is_ok());
    assert_eq!(calls.get(), 2);
}
