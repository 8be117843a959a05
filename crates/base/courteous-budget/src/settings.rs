use std::time::Duration;

use courteous_core::settings;

settings! {
    /// The settings of a [`Budget`](crate::Budget), as its [`BudgetBuilder`](crate::BudgetBuilder)
    /// takes them. An unlimited budget has none. Until the first call succeeds, a retry costs at
    /// most 1, whatever its price is.
    pub struct BudgetSettings {
        /// The tokens at the beginning, which are there until the first call succeeds.
        pub start: Option<u32>,
        /// What a successful call deposits, in tokens, from 0 to 1.
        pub deposit: Option<f64>,
        /// The lower bound of the cap, in tokens.
        pub lowest_cap: Option<u32>,
        /// The upper bound of the cap, in tokens.
        pub highest_cap: Option<u32>,
        /// How far back successes count for the cap.
        pub window: Option<Duration>,
        /// The cost of a retry that follows a failure without a response.
        pub price_after_no_response: Option<u32>,
        /// The cost of a retry that follows a server's error.
        pub price_after_server_error: Option<u32>,
        /// The cost of a retry that follows a 429, without a [gate](crate::Budget#gates).
        pub price_after_throttling: Option<u32>,
        /// The cost of a retry that waits at a gate.
        pub price_at_gate: Option<u32>,
    }
}
