//! The promises of the layer: what it records, what the caller gets, and what is never written.

mod abandoned;
mod bodies;
mod fates;
mod records;
mod secrets;
mod support;
