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
//! Inside a retry, which is generic over [`Keep`]. You need it directly only if you write a client
//! by hand.
//!
//! A client such as kube's or octocrab's has its own request body type, and sends through any
//! service. For such a client there is a layer, [`AnyBodyLayer`], directly outside the retry.
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

/// How many bytes of a body to keep by default: 64 KiB.
///
/// Enough for most API calls, and at most 64 MiB for a thousand calls in flight.
pub const DEFAULT_LIMIT: usize = 64 * 1024;
