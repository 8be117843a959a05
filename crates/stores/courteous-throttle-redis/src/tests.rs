//! Tests of the promises, and a simulation of whole workers. They use a model of the script, and a
//! Redis in this process.

#[cfg(unix)]
mod clock;
pub(crate) mod fake;
mod model;
mod promises;
#[cfg(unix)]
mod script;
pub(crate) mod sent;
#[cfg(unix)]
mod set_clock;
mod simulation;
#[cfg(unix)]
mod soak;
