use std::{error::Error, fmt, time::Duration};

/// A call or an attempt outlived its timeout.
///
/// Says nothing about whether the server acted on the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    limit: Duration,
    scope: Scope,
}

/// What an [`Elapsed`] timeout covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// One attempt: another one may still be made.
    Attempt,
    /// The whole call, with its queues, attempts and backoffs: nothing more can be done in time.
    Total,
}

impl Elapsed {
    /// The timeout `limit` of `scope` has passed.
    #[must_use]
    pub const fn new(limit: Duration, scope: Scope) -> Self {
        Self { limit, scope }
    }

    /// The timeout that has passed, counted from the beginning of its scope. Of a call whose deadline came from nobody's
    /// timeout, the time that was left when it reached the layer that says so.
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
            Scope::Attempt => write!(f, "attempt not finished within {:?}", self.limit),
            Scope::Total => write!(f, "call not finished within {:?}", self.limit),
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
        assert_eq!(elapsed.to_string(), "attempt not finished within 500ms");
    }
}
