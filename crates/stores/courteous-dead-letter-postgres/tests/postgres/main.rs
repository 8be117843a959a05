//! The Postgres store keeps the promises of every store, whatever happens to its server, its
//! connection and its neighbours.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod faults;
mod many;
mod schema;
mod server;
mod spill;
mod unreadable;

use courteous_dead_letter::conformance;

conformance!(mod postgres { server::store });
