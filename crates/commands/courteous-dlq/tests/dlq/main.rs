//! What scripts and people can rely on. The tests run the command itself.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bench;
mod looking;
mod postgres;
mod replaying;
mod secrets;
mod stopped;
