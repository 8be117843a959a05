//! The Postgres store keeps what every store promises, whatever happens to its server, its connection and its neighbours.
#![cfg(feature = "postgres")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../conformance/mod.rs"]
mod conformance;
mod faults;
mod many;
mod schema;
mod server;
mod spill;
mod unreadable;

use conformance::conformance;

conformance!(mod postgres { server::store });
