#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! ```text
//!                 keep               the first attempt reads
//!  source  --------------->  body  --------------------------->  a b c
//!                    \                                           | | |  copied, up to the limit
//!                     `--->  kept  <-----------------------------+-+-+
//!                              |
//!                              |  again                          from the copy   then from the source
//!                              `---------->  body  ------------> a b c           d e f
//! ```
//!
//! # Where it goes
//!
//! Inside a retry, which is generic over [`Keep`]. Nobody else needs it, unless a client is written by hand.
//!
//! A client such as kube's or octocrab's has a request body of its own type, and takes any service to send it by. For it there
//! is a layer, [`AnyBodyLayer`], directly outside of the retry.
//!
//! # What it does not do
//!
//! It does not decide whether a request may be sent again: that is the retry's task. It does not spill to disk.
//!
//! # Features
//!
//! `axum`, `tonic`, `reqwest`: [`Replay`] for the bodies of these libraries. `load`: the layer forwards `tower::load::Load`. None
//! is on by default.

mod any_body;
mod any_body_layer;
mod any_body_service;
mod body;
mod boxed;
mod buffer;
mod drain;
mod error;
mod guard;
mod hint;
mod keep;
mod kept;
mod replay;
#[cfg(feature = "reqwest")]
mod reqwest;
mod shared;

pub use any_body::{AnyBody, KeptAnyBody};
pub use any_body_layer::AnyBodyLayer;
pub use any_body_service::AnyBodyService;
pub use body::ReplayBody;
pub use drain::Drain;
pub use error::{NotReplayable, Overtaken};
pub use guard::GuardBody;
pub use keep::{Keep, Native, SendOnce, Via};
pub use kept::Kept;
pub use replay::Replay;
#[cfg(feature = "reqwest")]
pub use reqwest::KeptReqwest;

/// How many bytes of a body to keep, if nothing else was said: 64 KiB.
///
/// Enough for most calls of an API, and 64 MiB in the worst case for a thousand calls in flight.
pub const DEFAULT_LIMIT: usize = 64 * 1024;
