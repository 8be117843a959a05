use courteous_core::Rejected;

/// Tells a subscriber that a call was refused.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn refused(rejected: &Rejected) {
    tracing::debug!(reason = ?rejected.reason(), "request refused by a concurrency limit");
}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn refused(_: &Rejected) {}
