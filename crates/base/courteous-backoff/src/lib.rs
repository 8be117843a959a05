#![doc = include_str!("../README.md")]

mod backoff;
mod error;
mod jitter;

pub use backoff::Backoff;
pub use error::InvalidBackoff;
pub use jitter::Jitter;
