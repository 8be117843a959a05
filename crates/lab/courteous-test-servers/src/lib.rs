//! Real servers and processes for tests. Each runs on a free loopback port and ends with the test.
//!
//! | | |
//! |---|---|
//! | [`ScriptedServer`] | a loopback HTTP/1.1 server that closes, resets, stalls and drips on request |
//! | [`ChaosProxy`] | a TCP proxy that delays, drips, swallows, half-closes, resets and refuses, by a script or by chance |
//! | [`Redis`], [`RedisCluster`], [`RedisSentinel`], [`Postgres`] | real servers of a test's own, that can be killed, hung and restarted |
//! | [`Fleet`] | workers that each have a thread, a runtime and a store of tokens, and send what it lets through |
//! | [`Wire`] | a proxy with its own runtime, for workers on other threads |
//! | [`Sends`] | when requests were sent, by which process, and the window with the most requests |
//! | [`Process`] | a process that ends with the test, however that ends |
//! | [`SmallDisk`], [`as_another_user`] | a disk that is soon full, and a program that runs as another user |

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a check that fails panics: that is what this crate is for"
)]

mod chaos;
#[cfg(unix)]
mod fleet;
#[cfg(unix)]
mod sends;
mod server;
#[cfg(unix)]
mod services;
mod wire;

pub use chaos::{ChaosProxy, Course, Flow};
#[cfg(unix)]
pub use fleet::{BOUND, Fleet, Load, await_that, send, stand_still};
#[cfg(unix)]
pub use sends::{Sends, Sent, Window, jain_index, machine_clock};
pub use server::{Act, Moment, RawRequest, ScriptedServer};
#[cfg(unix)]
pub use services::{
    Postgres, Process, Redis, RedisCluster, RedisSentinel, SmallDisk, as_another_user,
};
pub use wire::Wire;
