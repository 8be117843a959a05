use crate::{Letter, NotRecorded};

/// A call that has finally failed: what the layer's [hook](crate::DeadLetterLayer::with_on_letter) is given.
#[derive(Debug)]
pub struct LetterEvent<'a> {
    letter: &'a Letter,
    outcome: LetterOutcome<'a>,
}

/// What became of a letter, when the layer had to go on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum LetterOutcome<'a> {
    /// It is durable.
    Recorded,
    /// It is not kept, or not known to be.
    NotRecorded(&'a NotRecorded),
    /// Nobody waits for it: the call was dropped. The sink has it, and says so if it fails.
    HandedOver,
}

impl<'a> LetterEvent<'a> {
    pub(crate) const fn new(letter: &'a Letter, outcome: LetterOutcome<'a>) -> Self {
        Self { letter, outcome }
    }

    /// The letter.
    #[must_use]
    pub const fn letter(&self) -> &'a Letter {
        self.letter
    }

    /// What became of it.
    #[must_use]
    pub const fn outcome(&self) -> LetterOutcome<'a> {
        self.outcome
    }
}
