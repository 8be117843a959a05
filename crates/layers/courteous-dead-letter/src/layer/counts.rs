use std::sync::atomic::{AtomicU64, Ordering};

use courteous_core::LettersSnapshot;

use crate::LetterOutcome;

/// How many letters a layer has made, by their outcome.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    recorded: AtomicU64,
    not_recorded: AtomicU64,
    handed_over: AtomicU64,
}

impl Counts {
    pub(crate) fn count(&self, outcome: LetterOutcome<'_>) {
        let count = match outcome {
            LetterOutcome::Recorded => &self.recorded,
            LetterOutcome::NotRecorded(_) => &self.not_recorded,
            LetterOutcome::HandedOver => &self.handed_over,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> LettersSnapshot {
        let mut letters = LettersSnapshot::default();
        letters.recorded = self.recorded.load(Ordering::Relaxed);
        letters.not_recorded = self.not_recorded.load(Ordering::Relaxed);
        letters.handed_over = self.handed_over.load(Ordering::Relaxed);
        letters
    }
}
