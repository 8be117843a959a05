//! A retry around another: an application's around that of a library it uses.

use std::{io, time::Duration};

use courteous_core::CallRecord;
use courteous_retry::{Budget, NoRetry, Retry, RetryInfo, RetryLayer, StopReason};
use courteous_testkit::{Probe, Reply};
use http::Method;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::support::{closed_until, request, retried, steady};

/// A retry of three attempts around one of five, with room in their budgets.
fn nested(probe: &Probe) -> (RetryLayer, Retry<Retry<Probe>>) {
    let unlimited = || steady().with_budget(Budget::unlimited());
    let (outer, inner) = (unlimited(), unlimited().with_max_attempts(5).unwrap());
    let stack = outer.layer(inner.layer(probe.clone()));
    (outer, stack)
}

#[tokio::test(start_paused = true)]
async fn what_an_inner_retry_has_given_up_is_not_repeated_and_its_attempts_are_counted() {
    type Case = (fn() -> Reply, StopReason, usize);
    let cases: [Case; 5] = [
        (|| Reply::status(503), StopReason::AttemptsExhausted, 5),
        (Reply::error, StopReason::AttemptsExhausted, 5),
        (
            || Reply::status(503).header("retry-after", "61"),
            StopReason::WaitTooLong,
            1,
        ),
        (
            || Reply::status(503).header("x-should-retry", "false"),
            StopReason::Vetoed,
            1,
        ),
        (|| Reply::status(501), StopReason::Permanent, 1),
    ];
    for (reply, reason, calls) in cases {
        let probe = Probe::new().otherwise(move |_| reply());
        let (outer, stack) = nested(&probe);
        let info = match stack.oneshot(request(Method::GET)).await {
            Ok(response) => RetryInfo::of(&response),
            Err(error) => retried(&error).info().clone(),
        };
        assert_eq!((info.stop_reason(), probe.calls()), (reason, calls));
        let numbers: Vec<_> = info
            .history()
            .attempts()
            .iter()
            .map(|a| a.number())
            .collect();
        assert_eq!(numbers, (1..=calls as u32).collect::<Vec<_>>());
        assert_eq!(info.attempts() as usize, calls);
        let waited = Duration::from_millis(100) * (calls as u32 - 1);
        assert_eq!(info.waited(), waited);
        assert_eq!(outer.budget().retries(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_inner_budget_that_is_spent_ends_the_call() {
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let inner = steady().with_budget(Budget::builder().start(0).build().unwrap());
    let stack = steady().layer(inner.layer(probe.clone()));
    let response = stack.oneshot(request(Method::GET)).await.unwrap();
    let info = RetryInfo::of(&response);
    assert_eq!(
        (info.stop_reason(), info.attempts(), probe.calls()),
        (StopReason::BudgetExhausted, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn attempts_of_an_inner_retry_add_up_where_it_succeeds() {
    let probe = Probe::new().replies([Reply::status(503), Reply::status(503)]);
    let (_, stack) = nested(&probe);
    let response = stack.oneshot(request(Method::GET)).await.unwrap();
    let info = RetryInfo::of(&response);
    assert_eq!(
        (info.stop_reason(), info.attempts(), probe.calls()),
        (StopReason::Answered, 3, 3)
    );
    assert_eq!(info.waited(), Duration::from_millis(200));
    assert_eq!(info.history().attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_outside_counts_the_attempts_of_the_inner_retry() {
    let probe = Probe::new().otherwise(|_| Reply::error());
    let (_, stack) = nested(&probe);
    let record = CallRecord::new();
    let mut request = request(Method::GET);
    request.extensions_mut().insert(record.clone());
    assert!(stack.oneshot(request).await.is_err());
    assert_eq!((record.attempts(), record.is_maybe_sent()), (5, true));
    assert_eq!(record.history().attempts().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_inner_retry_that_is_off_leaves_it_to_the_outer_one() {
    let off = || steady().with_max_attempts(1).unwrap();
    for reply in [|| Reply::status(503), || Reply::error()] {
        let probe = Probe::new().replies([reply(), reply()]);
        let stack = steady()
            .with_budget(Budget::unlimited())
            .layer(off().layer(probe.clone()));
        let response = stack.oneshot(request(Method::GET)).await.unwrap();
        let info = RetryInfo::of(&response);
        assert_eq!(
            (info.stop_reason(), info.attempts(), probe.calls()),
            (StopReason::Answered, 3, 3)
        );
        assert_eq!(info.history().attempts().len(), 2);
    }

    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let (_, stack) = nested(&probe);
    let mut once = request(Method::GET);
    once.extensions_mut().insert(NoRetry);
    let response = stack.oneshot(once).await.unwrap();
    let info = RetryInfo::of(&response);
    assert_eq!(
        (info.stop_reason(), info.attempts(), probe.calls()),
        (StopReason::Disabled, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_an_inner_retry_does_not_wait_for_is_waited_for_outside_if_nothing_was_sent() {
    let start = Instant::now();
    let probe = Probe::new().replies([closed_until(start + Duration::from_secs(2))]);
    let off = steady().with_max_attempts(1).unwrap();
    let stack = steady().layer(off.layer(probe.clone()));
    let response = stack.oneshot(request(Method::GET)).await.unwrap();
    assert!(response.status().is_success());
    assert_eq!(probe.calls(), 2);
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_record_outside_says_that_an_answered_attempt_of_the_inner_retry_was_sent() {
    let refused = || Reply::fail(io::Error::from(io::ErrorKind::ConnectionRefused));
    let probe = Probe::new().replies([refused()]);
    let (_, stack) = nested(&probe);
    let record = CallRecord::new();
    let mut request = request(Method::POST);
    request.extensions_mut().insert(record.clone());
    let response = stack.oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), probe.calls()), (200, 2));
    assert_eq!(
        (record.attempts(), record.history().attempts().len()),
        (2, 1)
    );
    assert!(record.is_maybe_sent() && record.is_maybe_processed());
}

#[tokio::test(start_paused = true)]
async fn a_record_outside_says_that_an_inner_retry_which_gave_up_sent_nothing() {
    let refused = || Reply::fail(io::Error::from(io::ErrorKind::ConnectionRefused));
    let probe = Probe::new().otherwise(move |_| refused());
    let (_, stack) = nested(&probe);
    let record = CallRecord::new();
    let mut request = request(Method::POST);
    request.extensions_mut().insert(record.clone());
    assert!(stack.oneshot(request).await.is_err());
    assert_eq!((record.attempts(), record.is_maybe_sent()), (5, false));
}
