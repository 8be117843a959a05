//! Servers on loopback sockets that answer as they are told and remember the requests, and bodies
//! to send them.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "helpers of tests, of which each needs some"
)]

mod client;
mod raw;
mod reply;
mod server;

pub(crate) use client::{
    brisk_retry, eventually, h1_client, h2_client, nobody_listens, streamed, text,
};
pub(crate) use raw::RawServer;
pub(crate) use reply::Reply;
pub(crate) use server::{Seen, Server};
