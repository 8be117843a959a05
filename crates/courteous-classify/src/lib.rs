#![doc = include_str!("../README.md")]

mod classifier;
mod grpc;
#[cfg(feature = "tower-http")]
mod tower_http;

pub use classifier::HttpClassifier;
pub use grpc::is_grpc;
#[cfg(feature = "tower-http")]
pub use tower_http::{FailureClass, FromTowerHttp, TraceClassifier};
