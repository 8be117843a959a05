//! A Tower layer that sends a request again where that is safe, useful, and within a budget.
//!
//! ```text
//!            attempt 1        backoff        attempt 2         Retry-After: 2        attempt 3
//!  request --> 503 ---- drained, let go ----> 429 ------- drained, let go -------------> 200 --> response
//!               |                              |
//!               decided: idempotent? body there? deadline? waits in sum? budget?
//! ```
//!
//! A classifier judges the outcome of an attempt. Then one decision is made, with everything known: whether the
//! request may be sent again, when, and whether the budget allows it. Only then is the response let go. The last response or
//! error is what the caller gets: there is no made-up one.
//!
//! # Example
//!
//! ```
//! use courteous_retry::{RetryInfo, RetryLayer};
//! use courteous_testing::Script;
//! use http::Request;
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tower::BoxError> {
//! let server = Script::new([503, 200]).service(); // in place of a client
//! let client = RetryLayer::new().layer(server.clone());
//!
//! let request = Request::put("http://api.example/notes/1").body(Full::new(&b"a note"[..]))?;
//! let response = client.oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(RetryInfo::of(&response).attempts(), 2);
//! assert_eq!(server.calls()[1].body(), b"a note");
//! # Ok(())
//! # }
//! ```
//!
//! For a single request, extensions say otherwise than the layer: [`NoRetry`], [`MaxAttempts`], [`Idempotent`].
//!
//! # What is sent again
//!
//! | what is known of the failed attempt | which requests are sent again |
//! |---|---|
//! | never sent: connection refused, REFUSED_STREAM, GOAWAY | all |
//! | refused by 429 | all, or by [choice](RetryLayer::with_retry_throttled) those below |
//! | refused by another status that names its pause, such as 503 with `Retry-After` | idempotent ones, and those with a key; others by [choice](RetryLayer::with_retry_refused) |
//! | refused by 425 | all, once in a call (RFC 8470, section 5.2) |
//! | maybe processed: other 5xx, a reset, an early end, an attempt timeout | idempotent ones, and those with a key |
//! | in progress: 409 under the request's key, after an attempt that may have been processed | those with a key |
//!
//! Idempotent are the methods that IANA's registry [calls so](courteous_core::is_idempotent), and what the caller says is. A key is
//! exactly one `Idempotency-Key` field that holds one: a blank, repeated or malformed field is none
//! ([`KeyField`](courteous_core::KeyField)). A layer that adds one goes outside of this one. An *injected* key proves
//! nothing to a server that does not honour keys: use it with servers that do.
//!
//! A `PUT` or `DELETE` under a [precondition](courteous_core::is_conditional_write) such as `If-Match` is idempotent in its
//! effect, and not in its answer. Sent again after its answer was lost, it meets its own effect, and the caller is told that
//! another writer was first. So it is not sent again where it may have been processed, unless it has a key or is
//! [`Idempotent(true)`](Idempotent): the caller gets the ambiguous outcome, with
//! [`StopReason::Precondition`].
//!
//! Never sent again are requests whose body is gone, whose failure is permanent (501, a bad certificate), or whose server has
//! said so: `x-should-retry: false`, `x-envoy-ratelimited`, a negative or unreadable `grpc-retry-pushback-ms`, the marker of a replayed answer.
//!
//! # My call was not retried: why
//!
//! The text of the error says it; `StopReason` is the same as a value, in an error (`Retried`) and on a response (`RetryInfo`).
//!
//! | the error says | `StopReason` | what it means | what to do |
//! |---|---|---|---|
//! | all allowed attempts were made | `AttemptsExhausted` | three by default, the first included | see the last error; allow more by `RetryLayer::with_max_attempts`, or `MaxAttempts` for one request |
//! | the retry budget is spent | `BudgetExhausted` | too few calls succeeded lately to pay for another attempt: the server is ill, or the process has just begun | nothing, while the server is ill; a batch or a command that makes few calls sets a larger start by `RetryLayer::with_budget` |
//! | the request may have been processed, and has neither an idempotent method nor an idempotency key | `NotIdempotent` | a POST or PATCH that is sent twice could act twice | an `Idempotency-Key`, if the server honours it; `Idempotent(true)` or `RetryLayer::with_idempotent`, if sending it twice does no harm |
//! | the request may have been processed, and its precondition would fail on its own effect | `Precondition` | a write under `If-Match` or a similar header: the answer to a second one could blame another writer | read the state and compare; a key, or `Idempotent(true)` if the caller can tell its own write |
//! | the request body cannot be sent again | `BodyNotReplayable` | it streams and is longer than what is kept (64 KiB), or can be read only once | a body in memory, such as `Full`; more by `RetryLayer::with_body_limit` |
//! | the next wait is longer than a call may wait | `WaitTooLong` | the server asked for a pause that makes the waits of this call longer than 60 s | call again at `not_before`; more by `RetryLayer::with_max_wait` |
//! | the deadline leaves no time for another attempt | `Deadline` | the next attempt would begin after the total timeout, or after the caller's deadline | a longer total timeout, or shorter attempts; call again at `not_before`, if there is one |
//! | another attempt would fail in the same way | `Permanent` | a certificate that is not trusted, a URL that cannot be called, a 501 or 505 | what the last error names. A retry that knows your client's errors only as *unknown* never says this: turn on the feature of your client (`hyper-util`, `reqwest`, `tonic`) |
//! | the server asked for no further attempt | `Vetoed` | `x-should-retry: false`, `x-envoy-ratelimited`, a negative `grpc-retry-pushback-ms`, or a replayed answer | what the server's documentation says |
//! | retries are off for this request | `Disabled` | the request has the extension `NoRetry` | leave it out |
//! | a layer of this client rejected the attempt | `Rejected` | a limit, a throttle or a key: the attempt was not sent | the source names the rule; call again at `not_before`, or give that limit more room |
//! | the server answered | `Answered` | a success, or a status that is an answer, such as 404 | a classifier of your own (`RetryLayer::with_classifier`), if the server means it otherwise |
//!
//! # Waits
//!
//! Full jitter by default, drawn for each call and attempt. What the server asks for (`Retry-After`, the millisecond
//! fields, `RateLimit`, gRPC pushback) is a floor: jitter only adds. If it asks for more than the call may wait, or the
//! deadline in the request's [`CallContext`](courteous_core::CallContext) comes first, the call ends *now*, with
//! [`RetryInfo::not_before`] telling when to come back; it is never tried sooner instead.
//!
//! A throttle further in that has closed because of the answer says so by a [`Gate`](courteous_core::Gate). Then this layer
//! waits for the gate, and for nothing else. If the throttle is closed when an attempt reaches it, it rejects, and this layer
//! waits, so that no permit is held meanwhile; such a rejection counts as no attempt and costs no budget. It is taken for the
//! rejection of the attempt itself: what makes several requests of one, such as a follower of redirects, goes outside of the
//! retry. Else a rejection of its second request sends the first one again.
//!
//! # In a stack
//!
//! Inside of the total timeout and the idempotency key, outside of everything that counts attempts: limits, breakers, the
//! attempt timeout. Then each attempt pays its token, and none holds a permit during a backoff.
//!
//! A retry around another, as in an application that uses a library with a stack of its own, repeats nothing that the inner one
//! has given up: three attempts of three would be nine. It ends for the inner retry's reason, and its [`RetryInfo`] counts the
//! attempts and waits of both. Only what the inner retry says was answered, or what it was told not to retry, is judged here.
//!
//! # Before switching it on
//!
//! With [`observe_only`](RetryLayer::observe_only) each call makes one attempt, and its outcome is returned as it is. The calls
//! that would have been retried are counted, with the wait that would have come first:
//!
//! ```
//! # use courteous_retry::RetryLayer;
//! use courteous_core::{Decision, ObserveOnly};
//!
//! let switch = ObserveOnly::new();
//! let layer = RetryLayer::new().observe_only(switch.clone());
//! // ... calls ...
//! assert_eq!(switch.count(Decision::Retry), 0);
//! assert_eq!(layer.budget().observed().rejections(), 0);
//! switch.set(false); // retries from now on
//! ```
//!
//! # What it does not do
//!
//! It decides when the head of a response is there: a body that fails halfway is the caller's to see, as is a gRPC status in
//! trailers after messages. It does not follow `421` to another connection. Clients retry by themselves below this layer
//! (hyper-util a request that was never written, reqwest a refused HTTP/2 stream): what is counted here is a lower bound.
//!
//! # Panics
//!
//! On a Tokio runtime without its time driver (`Builder::enable_time`), a call panics when it waits for its second attempt.
//! Outside of a runtime it fails with [`NoRuntime`](courteous_core::NoRuntime) then, and the last status is kept.
//!
//! # Sources
//!
//! RFC 9110 (sections 9.2.2, 10.2.3, 15), RFC 6585 (section 4), RFC 9113 (section 8.7), gRFC A6, and M. Brooker, "Exponential
//! Backoff And Jitter" (2015). Deviation: RFC 9110 advises against repeating a failed automatic retry; like all layers of
//! this kind we make several, few and budgeted.
//!
//! # Events
//!
//! With the feature `tracing`, a retry tells to the target `courteous::retry`:
//!
//! | event | level | fields |
//! |---|---|---|
//! | `retry` | debug | `attempt` (its number, which failed), `wait_ms`, `fault`, `status`, `method`, `origin` |
//! | `stopped` | debug | `attempts`, `reason`, `waited_ms`, `wait_ms` (until the server wants the next call), `fault`, `status`, `method`, `origin` |
//!
//! A call that ends with an answer makes no event. `reason` is [`StopReason::as_str`], `fault` is
//! [`Fault::as_str`](courteous_core::Fault::as_str). `observed=true` marks what a layer that only observes would have done.
//! A field is left out where there is no value. `origin` is scheme, host and port: never a user, a path or a query, which may hold
//! secrets.
//!
//! # Features
//!
//! Which client's errors are read, all off by default:
//!
//! | the client | features |
//! |---|---|
//! | hyper-util, HTTP/1 | `hyper-util` |
//! | with HTTP/2 | and `h2` |
//! | with TLS by rustls | and `rustls` |
//! | reqwest, tonic | the crates `courteous-reqwest` and `courteous-tonic`, which turn on what they need |
//! | any other | none: a classifier of your own, or errors that bring their verdict ([`Classified`](courteous_core::Classified)) |
//!
//! Nothing warns of a feature that is missing, or of a client that is built with another major version of these crates.
//! Verdicts then change: every error but a refused connection is *maybe processed*. So a POST is not sent again after a name that
//! did not resolve or a refused stream, and a GET whose certificate is not trusted is sent until attempts or budget are used
//! up. The crate `courteous` has all three on by default.
//!
//! `load` forwards `tower::load::Load`. `tracing`: the events above. `serde` serializes snapshots and settings.

mod call;
mod event;
mod events;
mod fields;
mod future;
mod layer;
mod overrides;
mod policy;
mod retry_settings;
mod service;
mod settings;
mod snapshot;

pub use courteous_backoff::{Backoff, InvalidBackoff, Jitter};
pub use courteous_budget::{
    Budget, BudgetBuilder, BudgetSettings, BudgetSnapshot, InvalidBudget, Payment, Receipt,
};
pub use courteous_classify::HttpClassifier;
pub use courteous_core::{Idempotent, InvalidCount, Retried, RetryInfo, StopReason};
pub use event::RetryEvent;
pub use future::ResponseFuture;
pub use layer::RetryLayer;
pub use overrides::{MaxAttempts, NoRetry};
pub use retry_settings::{BackoffSettings, RetrySettings};
pub use service::Retry;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
