use crate::{Letter, NotRecorded};

/// A call that has finally failed: the argument of the layer's
/// [hook](crate::DeadLetterLayer::with_on_letter).
#[derive(Debug)]
pub struct LetterEvent<'a> {
    letter: &'a Letter,
    outcome: LetterOutcome<'a>,
}

/// The state of a letter when the layer had to continue.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum LetterOutcome<'a> {
    /// The letter is durable.
    Recorded,
    /// The letter is not kept, or not known to be kept.
    NotRecorded(&'a NotRecorded),
    /// The call was dropped, and no caller waits for the letter. The sink has the letter, and
    /// reports a failure to keep it.
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

    /// The state of the letter.
    #[must_use]
    pub const fn outcome(&self) -> LetterOutcome<'a> {
        self.outcome
    }
}
