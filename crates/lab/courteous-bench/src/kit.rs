//! The tools with which all groups measure.

mod calls;
mod clock;
mod instructions;
mod machine;
mod request;
mod spread;
mod table;
mod transport;

pub(crate) use calls::{Calls, by_hand, collected, in_runtime};
pub(crate) use clock::{cpu_of, heap_left_by, heap_of, uncounted};
pub(crate) use instructions::{count, is_available, profile};
pub(crate) use machine::{RUSTC, machine, versions};
pub(crate) use request::{BODY, KEY, Request, Shape, uris};
pub(crate) use spread::{Spread, to_best};
pub(crate) use table::Table;
pub(crate) use transport::Transport;
