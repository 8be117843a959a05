use tokio::time::Instant;

/// A closed limit's opening instant, as seen by one waiting call.
///
/// A throttle that closed a partition because of a response puts the gate on that response; a [`Rejected`] that was
/// rejected by a closed partition carries one too. A retry outside sleeps until the gate opens *instead of* its own
/// backoff, hint and jitter.
///
/// The instant is never before the server's hint. It holds one draw of jitter that was made for this call alone, so that
/// a crowd which waits at one gate does not leave it at once.
///
/// [`Rejected`]: crate::Rejected
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    opens_at: Instant,
}

impl Gate {
    /// A gate that opens at `opens_at`.
    #[must_use]
    pub const fn new(opens_at: Instant) -> Self {
        Self { opens_at }
    }

    /// When this call may pass.
    #[must_use]
    pub const fn opens_at(&self) -> Instant {
        self.opens_at
    }
}
