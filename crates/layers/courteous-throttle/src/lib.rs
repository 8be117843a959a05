#![doc = include_str!("../README.md")]

mod bucket;
mod bucket_state;
mod cost;
mod events;
mod fast_path;
mod future;
mod horizon;
mod keyed;
mod layer;
mod levels;
mod listen;
mod meter;
mod pause;
mod service;
mod settings;
mod settle;
mod shadow;
mod throttle_settings;
mod told;
mod turn;
mod waiter;
mod waiters;

pub use bucket::Bucket;
pub use cost::Cost;
pub use courteous_core::{AsError, AsResponse, InvalidRate, InvalidSettings, Rate, Reject};
pub use courteous_limit::{
    Ask, BucketSnapshot, ByOrigin, ChargeId, InvalidRates, KeyOf, Labels, LimitId, Observed,
    ObservedStore, Partition, QuotaName, Quotas, Settled, Settler, Sought, StoreSnapshot, Take,
    Target, ThrottleSnapshot, TokenStore, ToldQuota, Turn,
};
pub use future::ResponseFuture;
pub use keyed::{Keyed, PerOrigin};
pub use layer::ThrottleLayer;
pub use service::Throttle;
pub use settle::Settle;
pub use throttle_settings::ThrottleSettings;
pub use turn::BucketTurn;
