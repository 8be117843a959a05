//! What the text of an error tells: why the call ended, once, on one line.
#![cfg(feature = "stack")]
#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{error, io, time::Duration};

use bytes::Bytes;
use courteous::{
    Error, Stack,
    core::{History, RejectReason, Rejected},
    find_cause,
    retry::{NoRetry, Retried, RetryInfo, StopReason},
};
use courteous_testkit::{Probe, Reply};
use http::{Method, Request};
use http_body_util::Full;
use tower::ServiceExt;

/// The texts of the error and its causes, outermost first, as `anyhow` prints them with `{:#}`.
fn chain(error: &(dyn error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

fn request(method: Method) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri("http://api.test/");
    request.body(Full::from("payload")).unwrap()
}

async fn fail(probe: Probe, request: Request<Full<Bytes>>) -> Error {
    let client = Stack::new().build().unwrap().layer(probe);
    client.oneshot(request).await.map(drop).unwrap_err()
}

#[test]
fn each_reason_is_in_the_text_of_the_error_and_once_in_the_chain() {
    for reason in StopReason::ALL {
        let info = RetryInfo::new(3, Duration::ZERO, *reason, None, History::new());
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let error = Error::new(Retried::new(info, reset.into()));
        assert_eq!(
            error.to_string(),
            format!("call failed after 3 attempts: {reason}")
        );
        assert_eq!(
            chain(&error),
            format!("call failed after 3 attempts: {reason}: the last error: connection reset")
        );
        assert!(find_cause::<Retried>(&error).is_some());
        assert_eq!(
            chain(&*error.into_source()),
            format!("gave up after 3 attempts: {reason}: connection reset")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_stack_says_why_it_stopped() {
    let reset = || Probe::new().otherwise(|_| Reply::fail("reset"));
    let error = fail(reset(), request(Method::POST)).await;
    assert_eq!(
        chain(&error),
        "call failed after 1 attempt: the request may have been processed, and has neither an idempotent \
         method nor an idempotency key: the last error: reset"
    );
    let mut once = request(Method::GET);
    once.extensions_mut().insert(NoRetry);
    let error = fail(reset(), once).await;
    assert_eq!(
        error.to_string(),
        "call failed after 1 attempt: retries are off for this request"
    );
    let probe = Probe::new()
        .replies([Reply::status(503)])
        .otherwise(|_| Reply::fail("reset"));
    let error = fail(probe, request(Method::GET)).await;
    assert!(
        chain(&error).contains("the last error, after a response with status 503: reset"),
        "{}",
        chain(&error)
    );
}

#[test]
fn a_rejection_says_whether_anything_was_sent_before() {
    let rejected = |attempts| {
        let reason = StopReason::Rejected;
        let info = RetryInfo::new(attempts, Duration::ZERO, reason, None, History::new());
        let rejected = Rejected::new(RejectReason::QueueFull);
        chain(&Error::new(Retried::new(info, rejected.into())))
    };
    let ends = "a layer of this client rejected the attempt: \
        the last error: request not sent: the limit's queue is full";
    assert_eq!(
        rejected(0),
        format!("call rejected before it was sent: {ends}")
    );
    assert_eq!(
        rejected(2),
        format!("call rejected after 2 attempts: {ends}")
    );
}

#[cfg(feature = "dead-letter")]
#[tokio::test(start_paused = true)]
async fn with_a_dead_letter_the_reason_is_said_once_as_well() {
    use courteous::dead_letter::{DeadLetterLayer, MemoryStore};

    let stack = Stack::new().with_dead_letter(DeadLetterLayer::new(MemoryStore::new()));
    let probe = Probe::new().otherwise(|_| Reply::fail("reset"));
    let client = stack.build().unwrap().layer(probe);
    let error = client
        .oneshot(request(Method::POST))
        .await
        .map(drop)
        .unwrap_err();
    let id = error.letter().unwrap();
    assert_eq!(
        chain(&error),
        format!(
            "call failed after 1 attempt: {}: kept as dead letter {id}: the last error: reset",
            StopReason::NotIdempotent
        )
    );
}

#[test]
fn each_reason_is_in_the_tables_of_why_a_call_was_not_retried() {
    let table = |source: &'static str| {
        let lines = source.lines().map(|line| line.trim_start_matches("//! "));
        let lines = lines.skip_while(|line| !line.starts_with("| the error says | "));
        lines.take_while(|line| line.starts_with('|')).collect()
    };
    let guide: Vec<_> = table(include_str!("../docs/not_retried.md"));
    assert_eq!(
        guide,
        table(include_str!("../../layers/courteous-retry/src/lib.rs"))
    );
    for reason in StopReason::ALL {
        let row = format!("| {reason} | `{reason:?}` | ");
        let rows = guide.iter().filter(|line| line.starts_with(&row));
        assert_eq!(rows.count(), 1, "{row}");
    }
}
