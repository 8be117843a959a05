//! Layers for Tower that make an HTTP or gRPC client polite to servers and hard to break.
//!
//! This crate brings the layers together, one feature for each; each is a crate of its own, too. It adds a stack of all of
//! them with checked defaults ([`Stack`]), a builder ([`ServiceBuilder`]), one error with the questions that people ask
//! ([`Error`]), and a [`check`] that says in plain words why a stack does not compile.
//!
//! # Example
//!
//! ```
//! use courteous::{Stack, retry::RetryInfo};
//! use courteous_testing::Script;
//! use http::Request;
//! use http_body_util::Full;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Script::new([503, 200]).service(); // in place of a client: fails once
//! let client = Stack::new().build()?.layer(server);
//!
//! let request = Request::put("http://api.example/notes/1").body(Full::new(&b"a note"[..]))?;
//! let response = client.send(request).await?;
//! assert_eq!((response.status().as_u16(), RetryInfo::of(&response).attempts()), (200, 2));
//! # Ok(())
//! # }
//! ```
//!
//! Recipes for hyper-util, reqwest, tonic, axum and others, and answers to questions: [`guide`]. How the
//! project is built, for its maintainers: [`guide::architecture`].
//!
//! # The order
//!
//! Order is meaning: a layer covers what is inside of it. The recommended one, which [`Stack`] has:
//!
//! ```text
//! call > idempotency key > dead letter > total timeout > retry > concurrency limit > throttle > attempt timeout > client
//! ```
//!
//! - The *key* is outermost of those that act: one operation, one key, on every attempt and on any later redrive. Inside of a
//!   retry, against this order, a call still never has two keys.
//! - The *dead letter*, where there is one, is just inside of the key, so that a record holds the key that was sent, and
//!   outside of all else, so that nothing ends a call unseen by it.
//! - The *total timeout* is outside of everything that can wait. It sets the deadline that all others read.
//! - The *limits* are inside of the retry: each attempt pays its token, and a backoff holds no permit.
//! - The *concurrency limit* is outside of the throttle, so that a token is spent when the request is sent. The other way
//!   round, tokens are spent while calls wait for permits, and are then sent in one burst over the quota. So what is in
//!   flight includes the throttle's queue; give both the same partitions.
//! - When a server closes the throttle (a 429), the retry does the waiting, and its permit is free meanwhile.
//! - The *attempt timeout* is innermost: time in our own queues is not billed to the server.
//!
//! Layers of others: telemetry of calls outermost, of attempts innermost; a cache outside of the total timeout; a balancer
//! inside of it, as the total timeout is always ready.
//!
//! A layer that is put around one which belongs outside of it says so, as an event at debug level with the feature `tracing`:
//! once, when the service is made. See [`LayerKind`](core::LayerKind) for what it cannot see.
//!
//! # The contract
//!
//! Every layer, and every ordered pair of layers, passes the same contract, over a client whose clones are never ready until
//! they are polled, and with three attempts where there is a retry:
//!
//! | outer \ inner | key | dead letter | total timeout | retry | concurrency | throttle | attempt timeout |
//! |---|---|---|---|---|---|---|---|
//! | key | yes | yes | yes | yes | yes | yes | yes |
//! | dead letter | yes | yes | yes | yes | yes | yes | yes |
//! | total timeout | yes | yes | yes | yes | yes | yes | yes |
//! | retry | yes | yes | yes | yes | yes | yes | yes |
//! | concurrency limit | yes | yes | yes | yes | yes | yes | yes |
//! | throttle | yes | yes | yes | yes | yes | yes | yes |
//! | attempt timeout | yes | yes | yes | yes | yes | yes | yes |
//!
//! The contract: `poll_ready` reserves nothing of ours; the instance that was polled is the one that is called, readied afresh
//! before every attempt; waiting holds nothing of the layers inside; dropping a future or a body in any state releases all;
//! the next waiter is woken, and all get through; errors of the client come through as a cause; requests and responses come
//! through unchanged; layers are built outside of a runtime, and serve two in turn; types are `Send`, `Sync`, `Clone` and
//! `Debug`.
//!
//! # Errors
//!
//! Each layer that can fail yields a [`BoxError`] around a typed error of its own, with the cause as its source. So
//! [`find_cause`] finds an [`Elapsed`](core::Elapsed) or a [`Rejected`](core::Rejected) through any stack, and [`Error::new`] makes of it one error that can be
//! asked. A *response* is never turned into an error.
//!
//! A client that tonic has generated wants a `tonic::Status`, and calls every other error UNKNOWN: `Stack::grpc()` makes statuses
//! of them, in a stack composed by hand `GrpcStatusLayer` does.
//!
//! In a spawned `async` block, `oneshot` and `call` can fail to compile with "implementation of `From` is not general enough"
//! if the client's own type names `BoxError`: by its body, or by its error (rust-lang/rust#110338). [`Courteous::send`] and
//! [`BoxClient::send`] compile there. For a stack that was composed by hand, use [`AnyBody`] in place of an
//! `UnsyncBoxBody<Bytes, BoxError>`; or spawn the call itself, `tokio::spawn(client.oneshot(request))`; or
//! box the future as a `Pin<Box<dyn Future<Output = _> + Send>>`. A *response* body that names `BoxError` is likewise
//! read by `BodyExt::frame`, or through a [`BoxClient`], and not by `BodyExt::collect`.
//!
//! # Runtime
//!
//! Tokio's: timers are made on the runtime that polls the call, when it first has to wait. A client can be made anywhere, be a
//! `static`, and serve several runtimes. Outside of Tokio, the first wait of a timeout or a backoff fails with
//! [`NoRuntime`](core::NoRuntime). See [the guide](guide::runtimes) for other executors, code that blocks, and WebAssembly.
//!
//! # Panics
//!
//! On a Tokio runtime that was built without `enable_time` or `enable_all`, a call panics at its first wait, with "timers are
//! disabled". Tokio does not tell in advance whether a runtime has its time driver.
//!
//! # The end of a client
//!
//! [`Courteous::close`] rejects new calls, and waits until those in flight have ended, to the end of their response bodies, and
//! their dead letters are durable, or until a deadline. See [`client::close`] for what it leaves alone, and for a stack that was
//! composed by hand. The example `axum_shutdown` is a service that closes its client at SIGTERM.
//!
//! # My call was not retried: why
//!
//! The text of the error says it; [`StopReason`](retry::StopReason) is the same as a value. [A page of the
//! guide](guide::not_retried) has each reason, what it means and what to do.
//!
//! # Features
//!
//! `concurrency`, `idempotency`, `retry`, `throttle`, `timeout`: one for each layer. `stack` (default): all five, with [`Stack`] and
//! its client.
//!
//! `hyper-util` (default), `reqwest`, `reqwest-http2`, `tonic`: that client's errors are read, with those of HTTP/2 and of TLS by
//! rustls, and its bodies can be sent again. `axum`: its bodies. Nothing warns of a feature that is missing: then every error of
//! that client but a refused connection is *maybe processed*. A POST is not sent again after a name that did not resolve, a certificate
//! that is not trusted is tried until attempts or budget are used up, and [`Error::is_timeout`] does not know the
//! client's own timeouts. With `reqwest` in place of `reqwest-http2`, this is so of a stream that an HTTP/2 server refused;
//! with native-tls, of certificates. `reqwest-middleware`: a stack as a middleware of a `ClientWithMiddleware`.
//!
//! `hyper-util` adds 17 crates to a client of hyper-util without TLS, and 11 to one with hyper-rustls: no cryptography, no root
//! store. To go without, say `default-features = false` and name the layers.
//!
//! `throttle-redis`: a throttle for many
//! machines, with `throttle-redis-cluster`, `throttle-redis-sentinel` and `throttle-redis-tls` for Redis as it is run there.
//! `dead-letter`: what could not be delivered is kept, with `dead-letter-sqlite` or `dead-letter-postgres` in a
//! database, with `dead-letter-encryption` unreadable there. With `axum`, an [`Error`] is a response,
//! and with `tonic` it becomes a status, so that a handler which makes a call of its own can end by `?`. `load`: the layers forward
//! `tower::load::Load`. `tower-http`: classifiers for its `TraceLayer`, in
//! [`classify`]. `serde`: [`Settings`](stack::Settings) are read from a file, and a [`Snapshot`](stack::Snapshot) is written. `tracing`: the layers tell what they
//! decide, as events with plain fields under targets such as `courteous::retry`; each layer's page has a table of them.
//! `testing`: a scripted service that stands in for a client in tests, with `testing-server` a scripted server, too.

#[cfg(feature = "retry")]
mod check;
pub mod client;
#[cfg(feature = "concurrency")]
pub mod concurrency;
#[cfg(feature = "dead-letter")]
pub mod dead_letter;
mod error;
#[cfg(feature = "axum")]
mod into_response;
#[cfg(feature = "tonic")]
mod into_status;
#[cfg(feature = "reqwest")]
mod reqwest_error;
mod service_builder;
#[cfg(feature = "stack")]
pub mod stack;
#[cfg(feature = "throttle")]
pub mod throttle;
mod timeout_error;

pub use courteous_body as body;
pub use courteous_classify as classify;
pub use courteous_core as core;
#[cfg(feature = "idempotency")]
pub use courteous_idempotency as idempotency;
#[cfg(feature = "reqwest")]
pub use courteous_reqwest as reqwest;
#[cfg(feature = "retry")]
pub use courteous_retry as retry;
#[cfg(feature = "testing")]
pub use courteous_testing as testing;
#[cfg(feature = "timeout")]
pub use courteous_timeout as timeout;
#[cfg(feature = "tonic")]
pub use courteous_tonic as tonic;

#[cfg(feature = "retry")]
pub use check::check;
pub use courteous_body::AnyBody;
pub use courteous_core::{BoxError, find_cause};
pub use error::Error;
pub use service_builder::{ServiceBuilder, ServiceBuilderExt};
#[cfg(feature = "stack")]
pub use {
    client::box_client::BoxClient,
    stack::{builder::Stack, service::Courteous},
};

#[cfg(all(
    doctest,
    feature = "axum",
    feature = "dead-letter-sqlite",
    feature = "hyper-util",
    feature = "reqwest",
    feature = "serde",
    feature = "throttle-redis",
    feature = "tonic"
))]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "stack"))]
#[doc = include_str!("../../clients/courteous-testing/README.md")]
struct TestingReadme;

// In any documentation; its code is tested where all that it uses is there.
#[cfg(any(
    all(doc, not(doctest)),
    all(
        doctest,
        feature = "axum",
        feature = "dead-letter-sqlite",
        feature = "hyper-util",
        feature = "reqwest",
        feature = "serde",
        feature = "testing",
        feature = "throttle-redis",
        feature = "tonic"
    )
))]
pub mod guide;
