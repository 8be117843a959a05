//! A scripted HTTP service and server, to test how a client retries, waits and gives up.
//!
//! ```
//! use courteous_testing::Script;
//! # use courteous_testing::ScriptService;
//! # use http::Request;
//! # use tower::{BoxError, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! // In a test: #[tokio::test(start_paused = true)]
//! let server = Script::new([503, 200]).service();
//! let status = fetch(server.clone(), "http://api.example/notes/1").await?; // your code
//! assert_eq!(status, 200);
//! server.assert_done();
//! # Ok(())
//! # }
//! # async fn fetch(client: ScriptService, uri: &str) -> Result<u16, BoxError> {
//! #     loop {
//! #         let response = client.clone().oneshot(Request::get(uri).body(String::new())?).await?;
//! #         if response.status() != 503 {
//! #             return Ok(response.status().as_u16());
//! #         }
//! #         tokio::time::sleep(std::time::Duration::from_secs(1)).await;
//! #     }
//! # }
//! ```
//!
//! A [`Script`] says what a server answers, call by call, with an [`Answer`] each: statuses and
//! hints, delays, silence, connections that are refused or lost, bodies that are cut or stall.
//! [`Script::service`] makes a [`ScriptService`] of it, which stands in for the client under any
//! `tower` layers.
#![cfg_attr(
    feature = "server",
    doc = "[`Script::serve`] makes a [`ScriptServer`] of it, for clients that take a URL."
)]
#![cfg_attr(
    not(feature = "server"),
    doc = "With the feature `server`, `Script::serve` makes a server of it, for clients that take a URL."
)]
//! Both record each [`Call`], and compare them with the script.
//!
//! # Time
//!
//! All times are on Tokio's clock. On a paused clock (`#[tokio::test(start_paused = true)]`,
//! Tokio's feature `test-util`) a test that waits for hours takes no time: when all tasks wait, the
//! clock jumps to the next timer. So nothing has to be advanced by hand. `tokio::time::advance` is
//! for a test that looks at a state *between* two timers.
//!
//! ```
//! use std::time::Duration;
//!
//! use courteous_testing::{Answer, Script};
//! use http::Request;
//! use tokio::time::{Instant, timeout};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tower::BoxError> {
//! let hour = Duration::from_secs(3600);
//! let server = Script::new([Answer::ok().after(2 * hour), Answer::never()]).service();
//! let call = || server.clone().oneshot(Request::new(String::new()));
//!
//! let start = Instant::now();
//! assert_eq!(call().await?.status(), 200);
//! assert_eq!(start.elapsed(), 2 * hour);
//! assert!(timeout(hour, call()).await.is_err());
//! assert_eq!(server.calls().gaps(), [2 * hour]);
//! # Ok(())
//! # }
//! ```
//!
//! # Chance
//!
//! A retry draws its waits. To make them the same in each run, seed the dice,
//! `RetryLayer::with_dice(Dice::seeded(7))`. To make them plain, use a backoff without jitter,
//! `Backoff::constant(wait).with_jitter(Jitter::None)`: then [`Calls::gaps`] are known. The script
//! itself never draws.
//!
//! # Was it done twice?
//!
//! [`Answer::lost`] is a request that was processed, and whose answer is lost. A client that sends
//! such a request again without an idempotency key does its work twice, which
//! [`Calls::times_processed`] tells:
//!
//! ```
//! use courteous_testing::{Answer, Script};
//! use http::Request;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower::BoxError> {
//! let server = Script::new([Answer::lost(), Answer::status(201)]).service();
//! for _ in 0..2 {
//!     let charge = Request::post("http://api.example/charges").body("100")?;
//!     let _ = server.clone().oneshot(charge.map(String::from)).await; // a hand-written retry
//! }
//! assert_eq!(server.calls().times_processed(), 2); // charged twice: there was no key
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! It checks no requests: compare what is recorded. Its service is always ready: to test a layer
//! that waits for readiness, use `tower-test`. Its server has no TLS.

mod answer;
mod asserts;
mod body;
mod call;
mod calls;
mod future;
mod invalid_answer;
mod mismatch;
mod record;
mod script;
#[cfg(feature = "server")]
mod server;
mod service;
mod unexpected_call;

pub use answer::Answer;
pub use body::ScriptBody;
pub use call::{Call, End};
pub use calls::Calls;
pub use future::ResponseFuture;
pub use invalid_answer::InvalidAnswer;
pub use mismatch::Mismatch;
pub use script::Script;
#[cfg(feature = "server")]
pub use server::ScriptServer;
pub use service::ScriptService;
pub use unexpected_call::UnexpectedCall;
