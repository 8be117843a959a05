#![doc = include_str!("../README.md")]

mod agenda;
mod arrivals;
mod catalogue;
mod chance;
mod chart;
mod fleet;
mod floors;
mod log;
mod metrics;
mod oracle;
mod quota;
mod report;
mod requirements;
mod results;
mod rivals;
mod scenario;
mod server;
mod stacks;
mod suite;
mod transport;
mod world;

pub use catalogue::catalogue;
pub use floors::Floor;
pub use metrics::Metrics;
pub use report::{Report, run};
pub use requirements::Requirements;
pub use results::Results;
pub use scenario::Scenario;
pub use stacks::Stack;
pub use suite::Suite;
pub use transport::{ResponseFuture, Transport};

/// Milliseconds of virtual time since the run began.
pub(crate) type Tick = u64;
