#![doc = include_str!("../README.md")]

mod backup;
mod columns;
mod error;
mod file;
mod job;
mod lock;
mod queue;
mod reader;
mod reserve;
mod rights;
mod schema;
mod settings;
mod statements;
mod store;
mod writer;

pub use error::{SqliteError, SqliteFault};
pub use settings::SqliteSettings;
pub use store::SqliteStore;
