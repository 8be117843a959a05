#![doc = include_str!("../README.md")]
//!
//! # Where it goes
//!
//! ```text
//! generated client > GrpcStatusLayer > the layers, with a RetryLayer that has the TonicClassifier > Channel
//! ```
//!
//! The status layer goes outermost, so that code outside it only needs to know statuses.
//!
//! # What it does not do
//!
//! The attempt timeout layer puts the remaining time on the wire (`grpc-timeout`), and the retry
//! layer obeys `grpc-retry-pushback-ms`. Both layers know gRPC themselves.
//!
//! # Sources
//!
//! gRFC A6, and the gRPC protocol over HTTP/2, for where a status is. Deviation: here, HTTP/2
//! REFUSED_STREAM is a retry like any other, counted and paid for; in gRFC A6 it is transparent.

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
