use std::fmt;

use crate::LetterId;

/// A record that cannot be read; [`LetterStore::unreadable`](crate::LetterStore::unreadable) finds
/// it.
///
/// It does not hold up any other record. It can be [marked](crate::LetterStore::mark) as discarded
/// by its id, and the next purge then removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The record's id. `None` if the id itself cannot be read: such a record can only be removed
    /// with the database's own tools.
    pub id: Option<LetterId>,
    /// The first column that cannot be read.
    pub column: &'static str,
}

impl Unreadable {
    /// The record with this id, whose `column` cannot be read.
    #[must_use]
    pub const fn new(id: Option<LetterId>, column: &'static str) -> Self {
        Self { id, column }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.id, self.column) {
            (Some(id), column) => write!(f, "the {column:?} of dead letter {id} cannot be read"),
            (None, column) => write!(f, "the {column:?} of a dead letter cannot be read"),
        }
    }
}
