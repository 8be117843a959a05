use crate::LetterId;

/// A request extension that marks the call as a letter that is sent again.
///
/// [`redrive`](crate::redrive) adds it. An inner dead-letter layer does not record such a call: if
/// the call fails, the failure is written to the record that the call came from. Other layers may
/// read the extension, for example to count redrives separately.
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
