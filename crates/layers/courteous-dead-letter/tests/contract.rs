//! The dead-letter layer keeps the promises of every layer.

use std::time::Duration;

use courteous_dead_letter::{
    BoxFuture, DeadLetterLayer, Letter, MemoryStore, PushError, Reason, Sink,
};
use courteous_testkit::{Subject, contract};

contract!(mod by_default { Subject::new(DeadLetterLayer::new(MemoryStore::new())) });

contract!(mod that_records_nothing {
    Subject::new(DeadLetterLayer::new(MemoryStore::new()).with_filter(|_| false))
});

contract!(mod that_records_all {
    let every = |layer, reason| DeadLetterLayer::with_reason(layer, reason);
    Subject::new(Reason::ALL.into_iter().fold(DeadLetterLayer::new(MemoryStore::new()), every))
});

contract!(mod whose_sink_is_slow {
    let patient = DeadLetterLayer::new(Slow).with_record_timeout(Duration::from_millis(20));
    Subject::new(patient)
});

/// Takes a letter, and never says that it is durable.
#[derive(Debug)]
struct Slow;

impl Sink for Slow {
    fn push(&self, _: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        Box::pin(std::future::pending())
    }
}
