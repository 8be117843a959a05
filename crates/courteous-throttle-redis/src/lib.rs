#![doc = include_str!("../README.md")]

mod bucket;
mod calls;
mod clock;
mod connection;
mod core;
mod demand;
mod gauges;
mod hand;
mod inbox;
mod keyed;
mod keys;
mod link;
mod local;
#[cfg(test)]
mod model;
mod outage;
mod script;
mod target;
mod task;
mod terms;
mod waiter;
mod window;

pub use bucket::{RedisBucket, RedisTurn};
pub use courteous_core::{Ask, InvalidRate, Partition, Rate, Store, Take, Turn};
pub use gauges::Gauges;
pub use keyed::{RedisKeyed, RedisPerOrigin};
pub use link::{InvalidUrl, Redis};
pub use outage::{InvalidShare, LocalShare};
pub use window::{InvalidWindow, rate_of_window};
