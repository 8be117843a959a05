//! courteous around tonic.

mod body;
mod classifier;
mod future;
mod layer;
mod service;
mod status;

pub use body::StatusBody;
pub use classifier::TonicClassifier;
pub use future::ResponseFuture;
pub use layer::GrpcStatusLayer;
pub use service::GrpcStatus;
pub use status::to_status;
