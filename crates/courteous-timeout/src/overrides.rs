use std::time::Duration;

/// A request extension: the total timeout of this call, whatever the layer's own is.
///
/// It may be longer or shorter than the layer's. [`Duration::MAX`] means none. A deadline that a
/// layer further out has set stays: the earliest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallTimeout(pub Duration);

/// A request extension: the timeout of each attempt of this call, whatever the layer's own is.
///
/// It may be longer or shorter than the layer's. [`Duration::MAX`] means none but the call's own
/// deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PerAttemptTimeout(pub Duration);
