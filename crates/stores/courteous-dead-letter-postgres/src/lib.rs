#![doc = include_str!("../README.md")]

mod builder;
mod columns;
mod connect;
mod error;
mod handle;
mod insert;
mod job;
mod look;
mod schema;
mod session;
mod settings;
mod settle;
mod spill;
mod spilling;
mod store;
mod waiting;
mod worker;

pub use builder::PostgresBuilder;
pub use error::PostgresError;
pub use store::{Backlog, PostgresStore};
