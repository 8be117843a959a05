mod format;
mod header;
mod layer;
mod service;

pub use header::DeadlineFormat;
pub use layer::AttemptTimeoutLayer;
pub use service::AttemptTimeout;
