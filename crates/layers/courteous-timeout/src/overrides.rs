use std::time::Duration;

/// A request extension: the timeout of each attempt of this call, whatever the layer's own is.
///
/// It limits the server's silence, as the layer's does, and grows with a body that is in memory.
/// It may be longer or shorter than the layer's. [`Duration::MAX`] means none but the call's own
/// deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PerAttemptTimeout(pub Duration);

/// A request extension: how long the response's body of this call may be silent, whatever the layer's own limit is.
///
/// It may be longer or shorter than the layer's. [`Duration::MAX`] means no limit. See
/// [`AttemptTimeoutLayer::with_idle_timeout`](crate::AttemptTimeoutLayer::with_idle_timeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdleTimeout(pub Duration);
