//! Writes under a precondition, which could meet their own effect.

use courteous_core::StopReason;
use courteous_retry::{Budget, Idempotent, RetryInfo, RetryLayer};
use courteous_testkit::{Probe, Reply};
use http::{HeaderName, HeaderValue, Method, Request};
use tower::Layer;

use crate::support::{Body, request, retried, send, steady};

const NAMES: [&str; 5] = [
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "if",
    "if-schedule-tag-match",
];

fn under(name: &'static str, method: Method) -> Request<Body> {
    let mut request = request(method);
    let name = HeaderName::from_static(name);
    request
        .headers_mut()
        .insert(name, HeaderValue::from_static("*"));
    request
}

/// How the call ends whose first attempt gets `reply`, and how often it was sent.
async fn after(reply: Reply, request: Request<Body>, layer: RetryLayer) -> (StopReason, usize) {
    let probe = Probe::new().replies([reply]);
    let layer = layer.with_budget(Budget::unlimited());
    let stop = match send(&layer.layer(probe.clone()), request).await {
        Ok(response) => RetryInfo::of(&response).stop_reason(),
        Err(error) => retried(&error).info().stop_reason(),
    };
    (stop, probe.calls())
}

#[tokio::test(start_paused = true)]
async fn a_conditional_write_that_may_have_been_processed_is_not_sent_again() {
    let ambiguous: [fn() -> Reply; 3] =
        [Reply::error, || Reply::status(500), || Reply::status(408)];
    for name in NAMES {
        for method in [Method::PUT, Method::DELETE] {
            for reply in ambiguous {
                let ended = after(reply(), under(name, method.clone()), steady()).await;
                assert_eq!(ended, (StopReason::Precondition, 1), "{method} {name}");
            }
        }
    }
    let probe = Probe::new().replies([Reply::error()]);
    let error = send(&steady().layer(probe), under("if-match", Method::PUT)).await;
    let text = error.map(drop).unwrap_err().to_string();
    let expected = "gave up after 1 attempt: \
        the request may have been processed, and its precondition would fail on its own effect";
    assert_eq!(text, expected);
}

#[tokio::test(start_paused = true)]
async fn a_conditional_write_is_sent_again_where_it_was_not_processed() {
    let answered = (StopReason::Answered, 2);
    let unprocessed: [fn() -> Reply; 3] = [
        || Reply::fail(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
        || Reply::status(429),
        || Reply::status(503).header("retry-after", "1"),
    ];
    for name in NAMES {
        for reply in unprocessed {
            let ended = after(reply(), under(name, Method::PUT), steady()).await;
            assert_eq!(ended, answered, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_or_the_callers_word_makes_a_conditional_write_repeatable() {
    let answered = (StopReason::Answered, 2);
    let mut keyed = under("if-match", Method::PUT);
    let key = HeaderValue::from_static("k1");
    keyed.headers_mut().insert("idempotency-key", key);
    assert_eq!(after(Reply::error(), keyed, steady()).await, answered);
    let mut said = under("if-match", Method::PUT);
    said.extensions_mut().insert(Idempotent(true));
    assert_eq!(after(Reply::error(), said, steady()).await, answered);
    let layer = steady().with_idempotent(|_| Some(true));
    let request = under("if-match", Method::PUT);
    assert_eq!(after(Reply::error(), request, layer).await, answered);
}

#[tokio::test(start_paused = true)]
async fn a_precondition_of_a_read_or_of_a_copys_source_changes_nothing() {
    let answered = (StopReason::Answered, 2);
    for method in [Method::GET, Method::HEAD] {
        let request = under("if-none-match", method);
        assert_eq!(after(Reply::error(), request, steady()).await, answered);
    }
    let copy = under("x-amz-copy-source-if-match", Method::PUT);
    assert_eq!(after(Reply::error(), copy, steady()).await, answered);
    let post = under("if-match", Method::POST);
    let ended = after(Reply::error(), post, steady()).await;
    assert_eq!(ended, (StopReason::NotIdempotent, 1));
}
