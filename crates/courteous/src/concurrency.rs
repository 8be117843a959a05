//! Limits on the requests in flight: a fixed one, and one that is learned.

#[cfg(feature = "adaptive")]
pub use courteous_adaptive as adaptive;
pub use courteous_concurrency::*;
