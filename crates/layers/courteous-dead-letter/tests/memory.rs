//! The store in memory keeps what every store promises.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

use std::{num::NonZeroUsize, sync::Arc};

use courteous_dead_letter::{Clock, LetterStore, MemoryStore, conformance};

fn store(clock: Clock) -> MemoryStore {
    MemoryStore::new().with_clock(clock)
}

conformance!(mod memory { async |clock| (Arc::new(store(clock)) as Arc<dyn LetterStore>, ()) });

#[tokio::test]
async fn a_full_store_says_so() {
    let clock = conformance::clock();
    let capacity = NonZeroUsize::new(3).unwrap();
    let store = Arc::new(store(clock.clone()).with_capacity(capacity)) as Arc<dyn LetterStore>;
    conformance::a_full_store_says_so(&store, &clock, 3).await;
}
