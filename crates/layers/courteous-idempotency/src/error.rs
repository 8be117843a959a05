use std::{error::Error, fmt};

use http::Method;

/// A text that cannot be an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKey(pub(crate) ());

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an idempotency key is 1 to 255 bytes of visible ASCII, and not two quotes")
    }
}

impl Error for InvalidKey {}

/// A method whose requests can have no use for an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidMethods {
    method: Method,
}

impl InvalidMethods {
    pub(crate) const fn new(method: Method) -> Self {
        Self { method }
    }

    /// The first method that was rejected.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }
}

impl fmt::Display for InvalidMethods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method } = self;
        write!(
            f,
            "{method} is a safe method, and has no use for an idempotency key"
        )
    }
}

impl Error for InvalidMethods {}

/// A text that names no host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHosts {
    host: String,
}

impl InvalidHosts {
    pub(crate) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
        }
    }

    /// The first text that was rejected.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for InvalidHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host } = self;
        write!(
            f,
            "{host:?} is no host, `*.` and a host, or either with a port"
        )
    }
}

impl Error for InvalidHosts {}
