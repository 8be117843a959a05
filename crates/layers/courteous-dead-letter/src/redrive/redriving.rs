use crate::LetterId;

/// A request extension that says that this call is a letter which is sent again.
///
/// [`redrive`](crate::redrive) puts it there. A dead-letter layer further in leaves such a call alone: when it fails, that is
/// written into the record that it came from. Other layers may read it, to count redrives apart, for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redriving {
    id: LetterId,
}

impl Redriving {
    pub(crate) const fn new(id: LetterId) -> Self {
        Self { id }
    }

    /// The record that is sent again.
    #[must_use]
    pub const fn id(&self) -> LetterId {
        self.id
    }
}
