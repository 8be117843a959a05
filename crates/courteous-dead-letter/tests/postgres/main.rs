//! The Postgres store keeps what every store promises, whatever happens to its server, its connection and its neighbours.
#![cfg(feature = "postgres")]

#[path = "../conformance/mod.rs"]
mod conformance;
mod faults;
mod many;
mod schema;
mod server;
mod spill;

use courteous_dead_letter::Clock;

use conformance::conformance;

conformance!(mod postgres { server::store });
