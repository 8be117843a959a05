#![doc = include_str!("../README.md")]

mod ask;
mod instants;
mod key_of;
mod keyed_map;
mod limit_id;
mod looks;
mod nap;
mod overflow;
mod pages;
mod permit_queue;
mod queue;
mod queue_place;
mod queued_turn;
mod quotas;
mod serve;
mod settler;
mod shared;
mod shortcut;
mod snapshot;
mod spread;
mod store;
mod table;
mod target;
mod timer;
mod token_queue;
mod waiting;
mod wakes;

pub use ask::Ask;
pub use instants::{earliest, later};
pub use key_of::{ByOrigin, ByWireOrigin, KeyOf, Sought};
pub use keyed_map::{KeyedMap, NoRoom, Place};
pub use limit_id::{ChargeId, LimitId};
pub use looks::Looks;
pub use nap::Nap;
pub use overflow::Overflow;
pub use permit_queue::{Capacity, Order, PermitEntry, PermitQueue, QueueTicket, StepTime, Taken};
pub use queue::{Queue, Ticket};
pub use queue_place::QueuePlace;
pub use queued_turn::QueuedTurn;
pub use quotas::{Admission, Pace, Quotas, ToldQuota};
pub use serve::{Next, Serve};
pub use settler::{Settled, Settler};
pub use shared::Shared;
pub use shortcut::Shortcut;
pub use snapshot::{
    BucketSnapshot, Busiest, InvalidRates, Labels, StoreSnapshot, ThrottleSnapshot, WITHOUT_ROOM,
};
pub use spread::Spread;
pub use store::{Observed, ObservedStore, Partition, Take, TokenStore, Turn};
pub use target::{QuotaName, Target};
pub use token_queue::{Entry, PollOutcome, TokenQueue};
pub use waiting::{WaitFailure, Waiting};
pub use wakes::{KeptWaker, Wakes};
