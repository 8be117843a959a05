#![doc = include_str!("../README.md")]
//!
//! # Where it goes
//!
//! ```text
//! generated client > GrpcStatusLayer > the layers, with a RetryLayer that has the TonicClassifier > Channel
//! ```
//!
//! The status layer goes outermost, as nobody outside of it needs to know anything but statuses.
//!
//! # What it does not do
//!
//! The remaining time is put on the wire (`grpc-timeout`) by the attempt timeout layer, and `grpc-retry-pushback-ms` is obeyed by
//! the retry layer: both know gRPC by themselves.
//!
//! # Sources
//!
//! gRFC A6, and the gRPC protocol over HTTP/2, for where a status is. Deviation: HTTP/2 REFUSED_STREAM is a retry like any other
//! here, counted and paid for, where gRFC A6 makes it transparent.

mod answer;
mod body;
mod classifier;
mod future;
mod layer;
mod methods;
mod service;
mod status;

pub use answer::FailedAnswer;
pub use body::StatusBody;
pub use classifier::TonicClassifier;
pub use future::ResponseFuture;
pub use layer::GrpcStatusLayer;
pub use methods::InvalidMethodName;
pub use service::GrpcStatus;
pub use status::to_status;
