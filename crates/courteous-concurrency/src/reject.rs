use std::fmt;

/// A refused call fails: the service's error is a [`BoxError`] with a [`Rejected`] inside. The
/// default.
///
/// [`BoxError`]: courteous_core::BoxError
/// [`Rejected`]: courteous_core::Rejected
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AsError;

/// A refused call is answered with a response made by `F`, and the service's error is the inner
/// service's.
///
/// Made by [`ConcurrencyLimitLayer::reject_with`](crate::ConcurrencyLimitLayer::reject_with).
#[derive(Clone, Copy)]
pub struct AsResponse<F>(pub(crate) F);

impl<F> fmt::Debug for AsResponse<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsResponse").finish_non_exhaustive()
    }
}
