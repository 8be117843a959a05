mod header;
mod layer;
mod service;

pub use layer::AttemptTimeoutLayer;
pub use service::AttemptTimeout;
