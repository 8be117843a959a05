//! The throttle, and the stores of tokens whose features are on.

pub use courteous_throttle::*;
#[cfg(feature = "throttle-redis")]
pub use courteous_throttle_redis as redis;
