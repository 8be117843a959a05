#![doc = include_str!("../README.md")]

mod baseline;
mod body;
mod controller;
mod events;
mod future;
mod judge;
mod keyed;
mod layer;
mod limiter;
mod partition;
mod permit;
mod permits;
mod samples;
mod service;
mod settings;
mod snapshot;
mod turn;
mod window;

pub use body::PermitBody;
pub use courteous_core::{InvalidSettings, ObserveOnly, Pressure};
pub use courteous_limit::{ByWireOrigin, KeyOf, Labels, Sought};
pub use future::ResponseFuture;
pub use keyed::{Keyed, PerOrigin};
pub use layer::AdaptiveLimitLayer;
pub use limiter::AdaptiveLimiter;
pub use partition::Partition;
pub use permit::Permit;
pub use service::AdaptiveLimit;
pub use snapshot::{AdaptiveSnapshot, LearnedSnapshot};
