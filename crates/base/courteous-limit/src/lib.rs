#![doc = include_str!("../README.md")]

mod nap;
mod queue;
mod shared;
mod shortcut;
mod timer;
mod wakes;

pub use nap::Nap;
pub use queue::{Queue, Ticket};
pub use shared::{Next, Serve, Shared};
pub use shortcut::Shortcut;
pub use wakes::Wakes;
