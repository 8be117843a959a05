use std::{num::NonZeroUsize, time::Duration};

use courteous_core::settings;

settings! {
    /// The settings of a concurrency limit, as a file can state them. A setting that is not stated
    /// stays as it is.
    #[derive(Eq)]
    pub struct LimitSettings {
        /// How many calls may be in flight at a time, for each key separately.
        pub limit: Option<NonZeroUsize>,
        /// How long a call may wait: [`ConcurrencyLimitLayer::with_max_wait`](crate::ConcurrencyLimitLayer::with_max_wait).
        pub max_wait: Option<Duration>,
        /// How many calls may wait: [`ConcurrencyLimitLayer::with_max_waiting`](crate::ConcurrencyLimitLayer::with_max_waiting).
        pub max_waiting: Option<usize>,
    }
}
