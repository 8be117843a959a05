#![doc = include_str!("../README.md")]

mod answer;
mod bucket;
mod config;
mod core;
mod cost;
mod error;
mod future;
mod keyed;
mod layer;
mod levels;
mod line;
mod listen;
mod meter;
mod pace;
mod rate;
mod refuse;
mod service;
mod store;
mod waiter;

pub use bucket::{Bucket, BucketTurn};
pub use cost::Cost;
pub use error::InvalidRate;
pub use future::ResponseFuture;
pub use keyed::{Keyed, PerOrigin};
pub use layer::ThrottleLayer;
pub use rate::Rate;
pub use refuse::{AsError, AsResponse, Refuse};
pub use service::Throttle;
pub use store::{Ask, Partition, Store, Take, Turn};
