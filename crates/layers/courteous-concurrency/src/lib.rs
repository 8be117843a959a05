#![doc = include_str!("../README.md")]

mod body;
mod events;
mod future;
mod layer;
mod leases;
mod limit_settings;
mod limiter;
mod limiters;
mod line;
mod options;
mod permit;
mod permits;
mod place;
mod scope;
mod service;
mod slots;
mod snapshot;
mod waiting;

pub use body::PermitBody;
pub use courteous_core::{AsError, AsResponse, InvalidCount, ObserveOnly, Reject};
pub use courteous_limit::Labels;
pub use future::ResponseFuture;
pub use layer::ConcurrencyLimitLayer;
pub use limit_settings::LimitSettings;
pub use limiter::Limiter;
pub use limiters::Limiters;
pub use options::HoldUntil;
pub use permit::Permit;
pub use service::ConcurrencyLimit;
pub use snapshot::{LimitSnapshot, PartitionSnapshot};
