#![doc = include_str!("../README.md")]

mod keyed_map;
mod limit_id;
mod nap;
mod overflow;
mod pages;
mod queue;
mod quotas;
mod settler;
mod shared;
mod shortcut;
mod snapshot;
mod store;
mod table;
mod timer;
mod wakes;

pub use keyed_map::{KeyedMap, NoRoom, Place};
pub use limit_id::{ChargeId, LimitId};
pub use nap::Nap;
pub use overflow::Overflow;
pub use queue::{Queue, Ticket};
pub use quotas::{Admission, Pace, QuotaName, Quotas, Target, ToldQuota};
pub use settler::{Settled, Settler};
pub use shared::{Next, Serve, Shared};
pub use shortcut::Shortcut;
pub use snapshot::{
    BucketSnapshot, Busiest, InvalidRates, Labels, StoreSnapshot, ThrottleSnapshot, WITHOUT_ROOM,
};
pub use store::{Ask, Observed, ObservedStore, Partition, Take, TokenStore, Turn};
pub use wakes::Wakes;
