//! A token bucket that many machines share through Redis.
