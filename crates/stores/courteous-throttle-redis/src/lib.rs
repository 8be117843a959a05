#![doc = include_str!("../README.md")]

mod bucket;
mod calls;
#[cfg(feature = "cluster")]
mod cluster;
mod connection;
mod core;
mod gauges;
mod hand;
mod handle;
mod inbox;
mod keyed;
mod keys;
mod link;
mod local;
mod news;
mod outage;
mod script;
#[cfg(feature = "sentinel")]
mod sentinels;
mod target;
mod task;
mod terms;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod turn;
mod url;
mod waiter;

pub use bucket::RedisBucket;
pub use courteous_core::{
    Ask, BucketSnapshot, InvalidRate, InvalidRates, Labels, Partition, Rate, Store, StoreSnapshot,
    Take, ThrottleSnapshot, Turn,
};
pub use gauges::Gauges;
pub use handle::Redis;
pub use keyed::{RedisKeyed, RedisPerOrigin};
pub use outage::{InvalidShare, LocalShare};
#[cfg(feature = "tls")]
pub use tls::{InvalidTls, Tls};
pub use turn::RedisTurn;
pub use url::InvalidUrl;
