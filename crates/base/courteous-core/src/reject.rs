use std::fmt;

use http::Response;

use crate::{BoxError, Rejected};

/// What a limit makes of a call that it rejects, and with that the limit's error type: [`AsError`] or [`AsResponse`].
pub trait Reject<B, E> {
    /// The error of the limit's service.
    type Error;

    /// The outcome of a rejected call.
    ///
    /// # Errors
    ///
    /// If a rejection is an error.
    fn reject(&self, rejected: Rejected) -> Result<Response<B>, Self::Error>;

    /// The error for one of the inner service.
    fn error(error: E) -> Self::Error;
}

/// A rejection is an error: a [`BoxError`] with the [`Rejected`] in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsError;

/// A rejection is a response, made by `F`, and the error type stays the inner service's.
#[derive(Clone, Copy)]
pub struct AsResponse<F>(F);

impl<F> AsResponse<F> {
    /// Answers rejected calls with what `respond` makes.
    #[must_use]
    pub const fn new(respond: F) -> Self {
        Self(respond)
    }
}

impl<B, E: Into<BoxError>> Reject<B, E> for AsError {
    type Error = BoxError;

    fn reject(&self, rejected: Rejected) -> Result<Response<B>, BoxError> {
        Err(rejected.into())
    }

    fn error(error: E) -> BoxError {
        error.into()
    }
}

impl<B, E, F: Fn(&Rejected) -> Response<B>> Reject<B, E> for AsResponse<F> {
    type Error = E;

    fn reject(&self, rejected: Rejected) -> Result<Response<B>, E> {
        Ok((self.0)(&rejected))
    }

    fn error(error: E) -> E {
        error
    }
}

impl<F> fmt::Debug for AsResponse<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsResponse").finish_non_exhaustive()
    }
}
