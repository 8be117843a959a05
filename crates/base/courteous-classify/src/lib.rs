#![doc = include_str!("../README.md")]

mod classifier;
mod connect;
mod grpc;
mod refusal;
#[cfg(feature = "rustls")]
mod tls;
#[cfg(feature = "tower-http")]
mod tower_http;

pub use classifier::HttpClassifier;
pub use connect::of_connect_error;
pub use grpc::is_grpc;
pub use refusal::{refusal_of, wait_after};
#[cfg(feature = "tower-http")]
pub use tower_http::{FailureClass, FromTowerHttp, TraceCall, TraceClassifier};
