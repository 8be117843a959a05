//! The promises, a simulation of whole workers, and what they stand on: a model of the script, and
//! a Redis in this process.

mod calls;
mod core;
pub(crate) mod fake;
mod model;
mod promises;
mod script;
pub(crate) mod sent;
mod simulation;
