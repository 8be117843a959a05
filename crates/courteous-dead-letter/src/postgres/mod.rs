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
mod spilling;
mod store;
mod waiting;
mod worker;

pub use self::{
    builder::PostgresBuilder,
    error::PostgresError,
    store::{Backlog, PostgresStore},
};
