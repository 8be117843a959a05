//! Models of what threads share without a lock. `loom` runs them in every order that threads and
//! memory allow.
//!
//! Run `cargo test --release` in this folder. The modelled files are those of the library itself.
//! What they need around them is modelled here. Everything else that threads share in the library
//! lives under a mutex, and is covered by its property tests.

#![cfg(test)]

#[path = "../../../layers/courteous-concurrency/src/slots.rs"]
#[allow(dead_code, reason = "not all of it is modelled")]
mod slots;

#[path = "../../../layers/courteous-throttle/src/horizon.rs"]
#[allow(dead_code, reason = "not all of it is modelled")]
mod horizon;

mod concurrency_limit;
mod throttle;
