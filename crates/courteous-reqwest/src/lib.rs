#![doc = include_str!("../README.md")]
//!
//! # Where it goes
//!
//! Innermost: it is the transport.

mod future;
mod service;
mod verdict;

pub use future::ResponseFuture;
pub use service::ReqwestService;
