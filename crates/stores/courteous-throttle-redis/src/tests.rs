//! Tests of the promises, and a simulation of whole workers. They use a model of the script, and a
//! Redis in this process.

mod calls;
mod core;
pub(crate) mod fake;
mod model;
mod promises;
mod script;
pub(crate) mod sent;
mod simulation;
