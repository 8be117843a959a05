#![doc = include_str!("../README.md")]
//!
//! # Where it goes
//!
//! Innermost: it is the transport.

mod future;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
#[cfg(feature = "reqwest-middleware")]
mod relay;
mod request;
mod response;
mod send_through;
mod service;
mod verdict;

pub use future::ResponseFuture;
#[cfg(feature = "reqwest-middleware")]
pub use middleware::PoliteMiddleware;
pub use request::into_http;
pub use response::{ReadRetryInfo, into_reqwest};
pub use send_through::SendThrough;
pub use service::ReqwestService;
