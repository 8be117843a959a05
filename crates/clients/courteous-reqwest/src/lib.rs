#![doc = include_str!("../README.md")]
//!
//! # Where it goes
//!
//! Innermost: it is the transport.

mod future;
mod request;
mod service;
mod verdict;

pub use future::ResponseFuture;
pub use request::into_http;
pub use service::ReqwestService;
