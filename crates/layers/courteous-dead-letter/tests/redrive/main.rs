//! The promises of a redrive: what it sends, what it does not send, and the outcome of the records.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod at_least_once;
mod dry_run;
mod outcomes;
mod secrets;
mod selection;
mod support;
