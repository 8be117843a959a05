//! What courteous layers are tested with: the contract that each of them passes, and the doubles to check it with.
//!
//! | | |
//! |---|---|
//! | [`contract!`] | one `#[test]` per promise that every layer keeps |
//! | [`Probe`] | an inner service that catches what breaks the `Service` contract, scripted with [`Reply`]s |
//! | [`TestBody`], [`CountingBody`] | a scripted body, and a count of what became of bodies |
//! | [`Task`] | a future that is polled only when it was woken, so that a lost wake-up shows |
//! | [`Storm`], [`Chance`] | many calls, a part of them dropped at random points, reproducibly |
//! | [`Events`] | what the layers tell a subscriber |
//! | [`assert_ends`] | a check that fails, instead of hanging, where there is a deadlock |
//!
//! # The contract
//!
//! A layer crate's `tests/contract.rs` is this, and a [`Subject`] for each shape of its layer:
//!
//! ```
//! use courteous_testkit::{Subject, contract};
//! # use tower_layer::Identity as CopyLayer;
//! # fn layer() -> CopyLayer { CopyLayer::new() }
//!
//! contract!(mod by_default { Subject::new(layer()) });
//! ```
//!
//! The block says what the tests cannot know, in one of these forms:
//!
//! ```text
//! Subject::new(TotalTimeoutLayer::new(Duration::from_secs(60)))       // never waits by itself
//!
//! let limiter = Limiter::new(2)?;
//! Subject::new(ConcurrencyLimitLayer::from(limiter.clone()))
//!     .waits_behind(2)                                                // the third call waits
//!     .gauge("permits in use", move || limiter.in_flight())
//!
//! Subject::new(RetryLayer::new()).retries(3)                          // a 503 is tried three times in all
//! ```
//!
//! Timeouts and waits must leave room for what a test does: let a timeout be 60 s or more, and a wait some seconds at
//! most. The clock is Tokio's, paused.
//!
//! | promise | what is done to check it |
//! |---|---|
//! | `poll_ready_reserves_nothing` | 100 clones are ready and idle; all that the layer admits is admitted next to them |
//! | `it_calls_the_instance_that_it_polled` | clones are never ready until polled (0, 1, 3 times pending); an unready call panics |
//! | `every_attempt_is_readied_afresh` | the same with as many failures as there are retries; each attempt is the same request |
//! | `waiting_holds_nothing_of_the_inner_service` | in the queue and in the backoff: no readiness, no call, no response, and `poll_ready` is `Ok` |
//! | `a_dropped_waiter_wakes_the_next` | the first of two waiters is dropped, in the queue or when it was woken; the second is woken |
//! | `all_waiters_get_through` | 50 waiters whose inner instances are slow to be ready: all are sent, and each is polled a few times |
//! | `a_waker_may_make_another_call` | wakers that call the service when they are replaced, dropped or woken; a deadlock fails after two minutes |
//! | `a_server_with_many_names_changes_nothing_for_others` | 10,000 names that answer 429 or a used-up quota: a new origin is served at once, a closed one stays closed |
//! | `a_future_dropped_after_any_poll_releases_all` | dropped after 0, 1, 2, ... polls until it resolves: gauges as at the start, nothing in flight, nothing sent later, the next call succeeds |
//! | `a_response_dropped_at_any_frame_releases_all` | the same for the response body |
//! | `an_inner_readiness_error_comes_through` | at the first attempt and at the second: it is the innermost cause |
//! | `an_inner_call_error_comes_through` | once and always: it is the innermost cause, or was made up for |
//! | `the_request_comes_through_unchanged` | all its parts; a layer may add |
//! | `the_response_comes_through_unchanged` | all its parts, size hints, end of stream, trailers, the body's error |
//! | `it_is_built_outside_a_runtime_and_serves_two_in_turn` | one leaked layer, two runtimes |
//! | `its_types_are_send_sync_clone_and_debug` | also `Unpin + Default` for the response body |
//!
//! A stack is a subject as well: `outer.around(inner)`, with what is known of both.
//!
//! # The probe
//!
//! ```
//! use std::{future::poll_fn, time::Duration};
//!
//! use courteous_testkit::{Probe, Reply};
//! use http::Request;
//! use http_body_util::Empty;
//! use tower_service::Service;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let probe = Probe::new().replies([Reply::status(503), Reply::ok().after(Duration::from_millis(20))]);
//! let mut service = probe.clone(); // and layers around it
//! for status in [503, 200] {
//!     poll_fn(|cx| Service::<Request<Empty<&[u8]>>>::poll_ready(&mut service, cx)).await.unwrap();
//!     let response = service.call(Request::new(Empty::<&[u8]>::new())).await.unwrap();
//!     assert_eq!(response.status(), status);
//! }
//! assert_eq!((probe.calls(), probe.in_flight(), probe.ready_held()), (2, 0, 0));
//! # });
//! ```

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a check that fails panics: that is what this crate is for"
)]

mod chance;
pub mod contract;
mod counting;
mod ends;
mod events;
mod latch;
mod probe;
mod probe_error;
mod probe_future;
mod reply;
mod seen;
mod shared;
mod storm;
mod task;

pub use chance::Chance;
pub use contract::Subject;
pub use counting::{BodyCount, CountingBody};
pub use courteous_testing::ScriptBody as TestBody;
pub use ends::assert_ends;
pub use events::Events;
pub use latch::Latch;
pub use probe::Probe;
pub use probe_error::ProbeError;
pub use probe_future::ProbeFuture;
pub use reply::Reply;
pub use seen::{Seen, SeenBody};
pub use storm::{Calm, Storm};
pub use task::{MOST_POLLS, PATIENCE, Task};
