use crate::snapshot;

snapshot! {
    /// How many letters a dead-letter layer has made, since it was made. Not how many are in its store.
    #[derive(Default)]
    pub struct LettersSnapshot {
        /// Letters that are durable.
        pub recorded: u64,
        /// Letters that are not kept, or not known to be.
        pub not_recorded: u64,
        /// Letters of calls that were dropped: the sink has them, and no caller waits.
        pub handed_over: u64,
    }
}
