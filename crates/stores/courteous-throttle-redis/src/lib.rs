#![doc = include_str!("../README.md")]

mod bucket;
mod bucket_state;
mod call_failure;
#[cfg(feature = "cluster")]
mod cluster;
mod connection;
mod gauges;
mod handle;
mod keyed;
mod keys;
mod outage;
mod pending_calls;
mod script;
#[cfg(feature = "sentinel")]
mod sentinels;
mod server;
mod task;
mod terms;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod transitions;
mod turn;
mod url;
mod worker;

pub use bucket::RedisBucket;
pub use courteous_core::{InvalidRate, Rate};
pub use courteous_limit::{
    Ask, BucketSnapshot, ByOrigin, InvalidRates, KeyOf, Labels, Partition, Sought, StoreSnapshot,
    Take, ThrottleSnapshot, TokenStore, Turn,
};
pub use gauges::Gauges;
pub use handle::Redis;
pub use keyed::{RedisKeyed, RedisPerOrigin};
pub use outage::{InvalidShare, LocalShare};
#[cfg(feature = "tls")]
pub use tls::{InvalidTls, Tls};
pub use turn::RedisTurn;
pub use url::InvalidUrl;
