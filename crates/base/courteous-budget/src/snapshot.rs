use courteous_core::snapshot;

snapshot! {
    /// A [`Budget`](crate::Budget), at one instant.
    #[derive(Default)]
    pub struct BudgetSnapshot {
        /// The available tokens; none if the budget is unlimited.
        pub balance: Option<f64>,
        /// How many retries were paid for and not refunded, since the budget was made.
        pub retries: u64,
        /// How many retries were rejected because there were too few tokens, since the budget was
        /// made.
        pub rejections: u64,
    }
}
