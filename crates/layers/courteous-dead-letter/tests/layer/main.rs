//! The promises of the layer: what it records, what the caller gets, and what is never written.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod abandoned;
mod bodies;
#[cfg(feature = "tracing")]
mod events;
mod no_runtime;
mod observe_only;
mod outcomes;
mod pauses;
mod records;
mod secrets;
mod support;
