use tokio::time::Instant;

/// A response extension: when the request was sent, if a layer held it back first.
///
/// A layer that waited between being called and calling the inner service puts it on the response, such as a throttle. A
/// layer further out that measures the server's latency counts from then. Without it, the request was sent when the inner
/// service was called. The innermost layer that waited is the one that counts: a layer leaves what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    at: Instant,
}

impl Sent {
    /// It was sent at `at`.
    #[must_use]
    pub const fn new(at: Instant) -> Self {
        Self { at }
    }

    /// When it was sent.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }
}
