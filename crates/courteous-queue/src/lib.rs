#![doc = include_str!("../README.md")]

mod queue;
mod shared;
mod timer;
mod wakes;

pub use queue::{Queue, Ticket};
pub use shared::{Next, Serve, Shared};
pub use wakes::Wakes;
