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
mod store;
mod worker;

pub use self::{
    builder::PostgresBuilder,
    error::PostgresError,
    store::{Backlog, PostgresStore},
};
