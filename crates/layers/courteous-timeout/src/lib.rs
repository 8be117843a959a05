//! Tower layers that end what takes too long: [`TotalTimeoutLayer`] a whole call,
//! [`AttemptTimeoutLayer`] one attempt.
//!
//! ```text
//! call                                                                       last byte of the body
//!  |<---------------------------------- total timeout ---------------------------------->|
//!  |  queue  |  attempt 1  x  pause  |  queue  |  attempt 2: headers  |  body            |
//!            |<- attempt ->|                   |<- attempt timeout -->|
//!               timeout
//! ```
//!
//! The total timeout sets an absolute deadline, and tells it to all layers inside by the request's
//! [`CallContext`](courteous_core::CallContext), where the earliest one wins. An attempt gets its
//! own timeout or what is left of the call, whichever is less.
//!
//! An attempt timeout limits the server's *silence*: it starts again while the request's body goes out
//! (see [`AttemptTimeoutLayer`]). An idle timeout does the same for the frames of the response's body:
//!
//! ```text
//!  request body: frame   frame   frame                                  response body
//!  |<- timeout ->|<- timeout ->|<- timeout ->  response head  frame   frame          frame
//!                                                       |<- idle ->|<- idle ->|<- idle ->|
//! ```
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use courteous_core::{Elapsed, Scope, find_cause};
//! use courteous_testing::{Answer, Script};
//! use courteous_timeout::TotalTimeoutLayer;
//! use http::Request;
//! use tokio::time::Instant;
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let minute = Duration::from_secs(60);
//! let server = Script::always(Answer::ok().after(minute)).service(); // in place of a client
//! let client = TotalTimeoutLayer::new(Duration::from_secs(5)).layer(server);
//!
//! let start = Instant::now();
//! let error = client.oneshot(Request::new(String::new())).await.unwrap_err();
//! assert_eq!(start.elapsed(), Duration::from_secs(5));
//! let elapsed = find_cause::<Elapsed>(&*error).unwrap();
//! assert_eq!(elapsed.scope(), Scope::Total);
//! # }
//! ```
//!
//! Both together, where the server is told how much time it has, and one call takes longer than the
//! others may:
//!
//! ```
//! # use std::time::Duration;
//! # use courteous_testing::Script;
//! # use http::Request;
//! # use tower::{ServiceBuilder, ServiceExt};
//! use courteous_timeout::{AttemptTimeoutLayer, CallTimeout, TotalTimeoutLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let server = Script::always(200).service(); // in place of a client
//! let client = ServiceBuilder::new()
//!     .layer(TotalTimeoutLayer::new(Duration::from_secs(5)))
//!     .layer(AttemptTimeoutLayer::new(Duration::from_secs(60)).with_grpc_timeout())
//!     .service(server.clone());
//!
//! let mut report = Request::new(String::new());
//! report.extensions_mut().insert(CallTimeout(Duration::from_secs(30)));
//! assert!(client.oneshot(report).await.is_ok());
//! assert_eq!(server.calls()[0].header("grpc-timeout"), Some("30000000u"));
//! # }
//! ```
//!
//! An event stream of minutes, under an attempt timeout of seconds:
//!
//! ```
//! # use std::time::Duration;
//! # use courteous_testing::{Answer, Script};
//! # use http::Request;
//! # use http_body_util::BodyExt;
//! # use tower::{ServiceBuilder, ServiceExt};
//! use courteous_core::LongLived;
//! use courteous_timeout::{AttemptTimeoutLayer, TotalTimeoutLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! // In place of a client: an event every twenty seconds.
//! let twenty = Duration::from_secs(20);
//! let events = (0..30).fold(Answer::ok(), |answer, _| answer.pause_body(twenty).body("data: tick\n\n"));
//! let server = Script::always(events).service();
//! let client = ServiceBuilder::new()
//!     .layer(TotalTimeoutLayer::new(Duration::from_secs(30)))
//!     .layer(AttemptTimeoutLayer::new(Duration::from_secs(5)).with_idle_timeout(Duration::from_secs(60)))
//!     .service(server);
//!
//! let mut watch = Request::new(String::new());
//! watch.extensions_mut().insert(LongLived); // the total timeout ends with the response's head
//! let mut events = client.oneshot(watch).await.unwrap().into_body();
//! let mut seen = 0;
//! while let Some(event) = events.frame().await {
//!     event.unwrap(); // fails after a minute without an event
//!     seen += 1;
//! }
//! assert_eq!(seen, 30); // in ten minutes
//! # }
//! ```
//!
//! # Where they go in a stack
//!
//! The total timeout goes outside of everything that can wait: retries, hedges, limits. It is
//! always ready, so that its clock covers the readiness of what is inside; so it goes outside of a
//! balancer, and never around an endpoint. The attempt timeout goes innermost, around the
//! transport: there it counts what the server takes, and not our own queues. Both are safe in any
//! place: a timeout that is inside another one can only be shorter.
//!
//! # What they do not do
//!
//! A timeout does not tell whether the server has acted on the request. `courteous-retry` makes
//! another attempt where that is safe; `courteous-throttle` and `courteous-concurrency` reject at
//! once to wait beyond the deadline that is set here.
//!
//! # Panics
//!
//! On a Tokio runtime without its time driver (`Builder::enable_time`), a call panics when it first has to wait. Outside of a
//! runtime it fails with [`NoRuntime`](courteous_core::NoRuntime) then.
//!
//! # Events
//!
//! With the feature `tracing`, a timeout that has ended something tells it to the target `courteous::timeout`:
//!
//! | event | level | fields |
//! |---|---|---|
//! | `elapsed` | debug | `scope`, `limit_ms`, `method`, `origin` |
//!
//! `scope` is [`Scope::as_str`](courteous_core::Scope::as_str). `observed=true` marks what a layer that only observes would have
//! ended. Method and origin are those of a call that began while a subscriber listened.
//! A field is left out where there is no value. `origin` is scheme, host and port: never a user, a path or a query, which may hold
//! secrets.
//!
//! # Sources
//!
//! `grpc-timeout` is that of gRPC over HTTP/2 ("Requests", `Timeout`), with two deviations of ours:
//! it is rounded down, where grpc-go rounds up, as the server must not have more time than we have;
//! and an attempt that has none left is not sent at all.

mod attempt;
mod body;
mod coverage;
mod echo;
mod events;
mod future;
mod limit;
mod overrides;
mod silence;
mod told;
mod total;
mod wait;

pub use attempt::{AttemptTimeout, AttemptTimeoutLayer};
pub use body::DeadlineBody;
pub use courteous_core::ObserveOnly;
pub use courteous_core::{CallTimeout, DeadlineFormat};
pub use coverage::Coverage;
pub use future::ResponseFuture;
pub use overrides::{IdleTimeout, PerAttemptTimeout};
pub use total::{ReadyCall, TotalTimeout, TotalTimeoutLayer};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
