//! Empty: this crate owns the examples and the tests of whole stacks with a store in Redis, SQLite
//! or Postgres.
