#![doc = include_str!("../README.md")]

mod backup;
mod columns;
mod error;
mod file;
mod job;
mod lock;
mod options;
mod queue;
mod reader;
mod reserve;
mod rights;
mod schema;
mod statements;
mod store;
mod writer;

pub use error::{SqliteError, SqliteFault};
pub use options::SqliteOptions;
pub use store::SqliteStore;
