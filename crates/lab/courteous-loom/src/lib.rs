//! Models of what is not under a lock, run by `loom` in every order that threads and memory allow.
//!
//! `cargo test --release` in this folder. The modelled files are those of the library itself; what they need around them
//! is modelled here. All else that threads share in the library lives under a mutex, and is covered by its property tests.

#![cfg(test)]

#[path = "../../../layers/courteous-concurrency/src/slots.rs"]
#[allow(dead_code, reason = "not all of it is modelled")]
mod slots;

#[path = "../../../layers/courteous-throttle/src/horizon.rs"]
#[allow(dead_code, reason = "not all of it is modelled")]
mod horizon;

mod concurrency_limit;
mod throttle;
