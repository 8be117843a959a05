use std::time::Duration;

use crate::QuotaScope;

/// What is left of a limit, as a response tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota<'h> {
    pub(crate) remaining: u64,
    pub(crate) reset: Option<Duration>,
    pub(crate) limit: Option<u64>,
    pub(crate) window: Option<Duration>,
    pub(crate) scope: QuotaScope<'h>,
}

impl<'h> Quota<'h> {
    /// How many more requests the server will take before [`reset`](Self::reset); a fraction is
    /// rounded down.
    ///
    /// It is no promise: the server may refuse sooner, and other clients may share the limit.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub const fn is_used_up(&self) -> bool {
        self.remaining == 0
    }

    /// How long from the receipt of the response until there is more. It need not be the full limit
    /// then.
    #[must_use]
    pub const fn reset(&self) -> Option<Duration> {
        self.reset
    }

    /// How many requests the server takes in a whole [`window`](Self::window).
    #[must_use]
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The length of the window that the limit is counted in.
    #[must_use]
    pub const fn window(&self) -> Option<Duration> {
        self.window
    }
    /// What the response says that the quota is of.
    #[must_use]
    pub const fn scope(&self) -> QuotaScope<'h> {
        self.scope
    }
}
