use std::{error::Error, fmt, time::Duration};

/// A call, an attempt or the wait for a frame outlived its timeout.
///
/// Says nothing about whether the server acted on the request.
///
/// It also rides in a *response's* extensions, with [`Scope::Attempt`]: an attempt timeout puts it there if the server
/// answers that the deadline of a single attempt has passed. For the call this answer is an attempt timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    limit: Duration,
    scope: Scope,
}

/// What an [`Elapsed`] timeout covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// One attempt, which heard nothing from the server for that long: another one may still be made.
    Attempt,
    /// The whole call, with its queues, attempts and backoffs: nothing more can be done in time.
    Total,
    /// The response's body: no frame of it came for that long.
    Idle,
}

impl Scope {
    /// Its name in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Total => "total",
            Self::Idle => "idle",
        }
    }
}

impl Elapsed {
    /// The timeout `limit` of `scope` has passed.
    #[must_use]
    pub const fn new(limit: Duration, scope: Scope) -> Self {
        Self { limit, scope }
    }

    /// The timeout that has passed. For [`Scope::Total`] it is counted from the beginning of the call, for
    /// [`Scope::Attempt`] from the last progress of the upload, and for [`Scope::Idle`] from when the caller began to wait
    /// for a frame.
    ///
    /// If the call's deadline was set directly rather than by a timeout: the time that was left when the call reached the
    /// layer that reports this error.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether one attempt or the whole call took too long.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            Scope::Attempt => write!(f, "attempt ended after {:?} of silence", self.limit),
            Scope::Total => write!(f, "call not finished within {:?}", self.limit),
            Scope::Idle => write!(f, "no frame of the response body for {:?}", self.limit),
        }
    }
}

impl Error for Elapsed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_tells_the_scope_and_the_limit() {
        let elapsed = Elapsed::new(Duration::from_secs(3), Scope::Total);
        assert_eq!(elapsed.to_string(), "call not finished within 3s");
        let elapsed = Elapsed::new(Duration::from_millis(500), Scope::Attempt);
        assert_eq!(elapsed.to_string(), "attempt ended after 500ms of silence");
        let elapsed = Elapsed::new(Duration::from_secs(30), Scope::Idle);
        assert_eq!(elapsed.to_string(), "no frame of the response body for 30s");
    }
}
