//! What scripts and people can rely on, by running the command itself.

mod bench;
mod looking;
mod postgres;
mod replaying;
mod secrets;
mod stopped;
