//! Request bodies that can be sent again.

mod body;
mod boxed;
mod buffer;
mod error;
mod hint;
mod keep;
mod kept;
mod replay;
#[cfg(feature = "reqwest")]
mod reqwest;
mod shared;

pub use body::ReplayBody;
pub use error::{NotReplayable, Overtaken};
pub use keep::{Keep, Native, SendOnce, Via};
pub use kept::Kept;
pub use replay::Replay;
#[cfg(feature = "reqwest")]
pub use reqwest::KeptReqwest;

/// How many bytes of a body to keep, if nothing else was said: 64 KiB.
///
/// Enough for most calls of an API, and 64 MiB in the worst case for a thousand calls in flight.
pub const DEFAULT_LIMIT: usize = 64 * 1024;
