use std::{error::Error, fmt};

use http::Extensions;
use tonic::Code;

/// The server's answer before a retry gave up: the source of the
/// [`Retried`](courteous_core::Retried) in such a status.
///
/// A status has no place for the extensions of the response that it was made of, so they are here.
#[derive(Debug)]
pub struct FailedAnswer {
    code: Code,
    extensions: Extensions,
}

impl FailedAnswer {
    pub(crate) const fn new(code: Code, extensions: Extensions) -> Self {
        Self { code, extensions }
    }

    /// The extensions of the response, such as the id of a dead letter.
    #[must_use]
    pub const fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

impl fmt::Display for FailedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered with {:?}", self.code)
    }
}

impl Error for FailedAnswer {}
