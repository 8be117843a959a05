mod layer;
mod ready_call;
mod service;

pub use layer::TotalTimeoutLayer;
pub use ready_call::ReadyCall;
pub use service::TotalTimeout;
