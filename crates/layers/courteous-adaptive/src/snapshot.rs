use std::time::Duration;

use courteous_core::snapshot;

snapshot! {
    /// What is in force at an adaptive limit, at one instant. With keys, the limits are those of the
    /// busiest ones, and the counts are sums.
    #[derive(Default)]
    pub struct AdaptiveSnapshot {
        /// How many keys have a limit of their own; none if all requests share one.
        pub keys: Option<usize>,
        /// How many attempts are in flight, for all keys.
        pub in_flight: usize,
        /// How many calls wait, for all keys.
        pub waiting: usize,
        /// How many calls were rejected, by the limits that are there.
        pub rejected: u64,
        /// The limits that hold up most: those with the most waiting calls, then those with the lowest
        /// limit. At most [`MAX_LIMITS`](Self::MAX_LIMITS).
        pub limits: Vec<LearnedSnapshot>,
    }
}

snapshot! {
    /// One learned limit, at one instant.
    #[derive(Default)]
    pub struct LearnedSnapshot {
        /// Whose it is, if that may be shown: of origins, and of keys with
        /// [`Labels`](courteous_limit::Labels).
        pub key: Option<String>,
        /// How many attempts may be in flight; below 1, attempts are paced.
        pub limit: f64,
        /// Whether a caller has pinned it.
        pub pinned: bool,
        /// How many attempts are in flight.
        pub in_flight: usize,
        /// How many calls wait.
        pub waiting: usize,
        /// The latency without a queue. None before the first answer.
        pub baseline: Option<Duration>,
        /// How much the server has to do: `calm`, `raised` or `overloaded`.
        pub pressure: String,
    }
}

impl AdaptiveSnapshot {
    /// How many limits are shown.
    pub const MAX_LIMITS: usize = 10;
}
