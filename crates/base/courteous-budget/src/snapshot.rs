use courteous_core::snapshot;

snapshot! {
    /// A [`Budget`](crate::Budget), at one instant.
    #[derive(Default)]
    pub struct BudgetSnapshot {
        /// The tokens that are there; none if the budget is unlimited.
        pub balance: Option<f64>,
        /// How many retries were paid for and not given back, since the budget was made.
        pub retries: u64,
        /// How many retries were refused for want of tokens, since the budget was made.
        pub refusals: u64,
    }
}
