#![doc = include_str!("../README.md")]

mod bucket;
mod calls;
mod clock;
#[cfg(feature = "cluster")]
mod cluster;
mod connection;
mod core;
mod demand;
#[cfg(test)]
mod fake;
mod gauges;
mod hand;
mod handle;
mod inbox;
mod keyed;
mod keys;
mod link;
mod local;
#[cfg(test)]
mod model;
mod news;
mod outage;
#[cfg(test)]
mod promises;
mod script;
#[cfg(test)]
mod sent;
#[cfg(feature = "sentinel")]
mod sentinels;
#[cfg(test)]
mod simulation;
mod target;
mod task;
mod terms;
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
