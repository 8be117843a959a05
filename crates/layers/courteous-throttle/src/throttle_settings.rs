use std::time::Duration;

use courteous_core::{Rate, settings};

settings! {
    /// The settings of a throttle that a file can state. A setting that is not stated stays as it
    /// is.
    #[derive(Eq)]
    pub struct ThrottleSettings {
        /// The rates, which hold for each key separately: at least one, such as `"25/s"` or
        /// `"90000/min burst 1000"`. See [`Rate`](Rate#text).
        pub rates: Option<Vec<Rate>>,
        /// How long a call may wait:
        /// [`ThrottleLayer::with_max_wait`](crate::ThrottleLayer::with_max_wait).
        pub max_wait: Option<Duration>,
        /// How many calls may wait:
        /// [`ThrottleLayer::with_max_waiting`](crate::ThrottleLayer::with_max_waiting).
        pub max_waiting: Option<usize>,
        /// How long a refusal can close a bucket:
        /// [`ThrottleLayer::with_max_pause`](crate::ThrottleLayer::with_max_pause).
        pub max_pause: Option<Duration>,
        /// How long a used-up quota can close a bucket:
        /// [`ThrottleLayer::with_max_quota_pause`](crate::ThrottleLayer::with_max_quota_pause).
        pub max_quota_pause: Option<Duration>,
    }
}
