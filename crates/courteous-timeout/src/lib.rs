//! Timeouts.

mod attempt;
mod body;
mod coverage;
mod future;
mod limit;
mod overrides;
mod total;

pub use attempt::{AttemptTimeout, AttemptTimeoutLayer, DeadlineFormat};
pub use body::DeadlineBody;
pub use coverage::Coverage;
pub use future::ResponseFuture;
pub use overrides::{CallTimeout, PerAttemptTimeout};
pub use total::{ReadyCall, TotalTimeout, TotalTimeoutLayer};
