use std::{sync::OnceLock, time::Duration};

/// A server's word that it has not done what it was asked, as it was asked too much or is busy.
///
/// `courteous-classify` says which responses are refusals. A throttle that has read the fields of
/// one hands its reading on, in the extensions of the response: as a [`Gate`](crate::Gate) if a
/// closed limit opens then, else as this. So a layer further out does not read the fields again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pause: Option<Duration>,
}

impl Refusal {
    /// A refusal for `pause`, or for a time that the server does not tell.
    #[must_use]
    pub const fn new(pause: Option<Duration>) -> Self {
        Self { pause }
    }

    /// For how long the server wants to be left alone, if it says so: only a 429 may leave that
    /// open. It has no upper bound.
    #[must_use]
    pub const fn pause(&self) -> Option<Duration> {
        self.pause
    }
}

/// What was read of the refusal in one response. A layer that asks several questions about a
/// response gives it along, so that the fields are read by the first question that needs them, and
/// by no other: see [`Outcome::with_refusal`](crate::Outcome::with_refusal).
#[derive(Debug, Default)]
pub struct RefusalCell(OnceLock<Option<Refusal>>);

impl RefusalCell {
    /// Nothing was read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(crate) fn get_or_read(&self, read: impl FnOnce() -> Option<Refusal>) -> Option<Refusal> {
        *self.0.get_or_init(read)
    }
}
