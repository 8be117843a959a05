//! Many workers, one Redis, and all that can go wrong between them: never is more sent than the
//! quota allows.
//!
//! Each worker has a thread, a runtime, a store and connections of its own; the Redis is a real
//! one. What is asserted are numbers of requests: how many were sent in each window of time, and
//! that each worker goes on. A window counts a request only if the request was sent in it for
//! certain: the clock is read before and after each decision (see `courteous_test_servers::Sends`),
//! so a machine under load cannot make a test fail.
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
mod clock;
mod fair;
mod faults;
mod hints;
mod limits;
mod processes;
#[cfg(feature = "sentinel")]
mod sentinel;
mod soak;
mod state;
mod support;
#[cfg(feature = "tls")]
mod tls;
