//! Many workers, one Redis, and all the faults that can occur between them. The workers never send
//! more than the quota allows.
//!
//! Each worker has its own thread, runtime, store and connections. The Redis is a real one. The
//! tests assert how many requests were sent in each window of time, and that each worker goes on. A
//! window counts a request only if the request was certainly sent in it: the clock is read before
//! and after each decision (see `courteous_test_servers::Sends`). So a machine under load cannot
//! make a test fail.
//!
//! Where there is no `redis-server`, these tests are skipped, and say so.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a check that fails panics"
)]

mod away;
#[cfg(feature = "tls")]
mod certificates;
mod fair;
mod faults;
mod hints;
mod limits;
mod processes;
#[cfg(feature = "sentinel")]
mod sentinel;
mod state;
mod support;
#[cfg(feature = "tls")]
mod tls;
