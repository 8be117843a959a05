#![doc = include_str!("../README.md")]

mod body;
mod events;
mod future;
mod keyed;
mod layer;
mod leases;
mod limit_settings;
mod limiter;
mod partition;
mod permit;
mod permits;
mod queued_call;
mod queued_request;
mod service;
mod settings;
mod slots;
mod snapshot;

pub use body::PermitBody;
pub use courteous_core::{AsError, AsResponse, InvalidCount, ObserveOnly, Reject};
pub use courteous_limit::{ByWireOrigin, KeyOf, Labels, Sought};
pub use future::ResponseFuture;
pub use keyed::{Keyed, PerOrigin};
pub use layer::ConcurrencyLimitLayer;
pub use limit_settings::LimitSettings;
pub use limiter::Limiter;
pub use partition::Partition;
pub use permit::Permit;
pub use service::ConcurrencyLimit;
pub use settings::HoldUntil;
pub use snapshot::{LimitSnapshot, PartitionSnapshot};
