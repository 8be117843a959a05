//! The end of a client: no new calls, and a wait for those that are in flight.
//!
//! ```text
//!  open ---- close() ----> closing ---- the last call has ended ----> letters are durable ----> Ok
//!                             |                                                |
//!                             `----------------- the deadline -----------------`-------> Err(Unfinished)
//! ```
//!
//! [`Courteous::close`](crate::Courteous::close) closes a client of a [`Stack`](crate::Stack). A stack that was composed by hand
//! gets the same from a [`CloseLayer`](super::CloseLayer), outermost, and its [`Closer`](super::Closer):
//!
//! ```
//! use std::time::Duration;
//!
//! use courteous::{
//!     client::{CloseLayer, Closer},
//!     core::{RejectReason, Rejected},
//!     find_cause,
//! };
//! use courteous_testing::{Answer, Script};
//! use http::Request;
//! use http_body_util::BodyExt;
//! use tokio::time::Instant;
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let server = Script::always(Answer::ok().body("hello")).service(); // in place of a client
//! let closer = Closer::new();
//! let client = CloseLayer::from(closer.clone()).layer(server);
//!
//! let request = || Request::new(String::new());
//! let response = client.clone().oneshot(request()).await?;
//! let closing = closer.close(Instant::now() + Duration::from_secs(10));
//!
//! // A new call is rejected, before anything is sent.
//! let error = client.oneshot(request()).await.unwrap_err();
//! let rejected = find_cause::<Rejected>(&*error).map(Rejected::reason);
//! assert_eq!(rejected, Some(RejectReason::ShuttingDown));
//!
//! // A call in flight goes on: to the end of its response body.
//! assert_eq!(closer.in_flight(), 1);
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! closing.await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Calls that have not ended at the deadline
//!
//! They are counted in [`Unfinished`](super::Unfinished), and otherwise left alone, as hyper and axum leave theirs: whether a call that is cut off
//! had an effect cannot be known, and its caller may still have a use for the answer. They end when their callers drop them;
//! a runtime that ends drops all. A dead letter layer with
//! [`Reason::Abandoned`](https://docs.rs/courteous-dead-letter/latest/courteous_dead_letter/enum.Reason.html) keeps a call
//! that was dropped. Abort the tasks that have not ended, and close once more, so that their letters are durable:
//!
//! ```
//! # use std::time::Duration;
//! # use courteous::client::Closer;
//! # use tokio::{task::JoinSet, time::Instant};
//! # async fn end(closer: Closer, mut tasks: JoinSet<()>) {
//! if let Err(unfinished) = closer.close(Instant::now() + Duration::from_secs(10)).await {
//!     eprintln!("{unfinished}");
//!     tasks.shutdown().await;
//!     let _ = closer.close(Instant::now() + Duration::from_secs(1)).await;
//! }
//! # }
//! ```
//!
//! # What is flushed
//!
//! Dead letters: `close` returns when the letters of all ended calls are durable, as far as their sink's
//! [`flush`](https://docs.rs/courteous-dead-letter/latest/courteous_dead_letter/trait.Sink.html#method.flush) waits for that. Events of `tracing` are given to the subscriber
//! as they happen, and hooks are called as they happen, so nothing is left of them. An exporter of telemetry that has a buffer
//! of its own is flushed by its own shutdown, after `close`.
//!
//! # What it costs
//!
//! Per call one compare-exchange loop on a word that all calls share, one subtraction from it, two loads, and no allocation.

pub(super) mod closer;
mod future;
mod gate;
pub(super) mod layer;
pub(super) mod unfinished;

pub use self::{
    closer::InFlight,
    future::ResponseFuture,
    gate::{CloseGate, GateFuture},
    layer::Close,
};

/// The body of a response: the inner service's. Its call is in flight until it has ended, failed, or was dropped.
pub type CloseBody<B> = courteous_body::GuardBody<B, InFlight>;
