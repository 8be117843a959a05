use std::fmt;

/// A URL at which there can be no Redis.
#[derive(Debug)]
pub struct InvalidUrl {
    kind: redis::ErrorKind,
}

impl InvalidUrl {
    // The error itself may tell the password.
    pub(crate) fn new(error: redis::RedisError) -> Self {
        Self { kind: error.kind() }
    }
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid Redis URL: {:?}", self.kind)
    }
}

impl std::error::Error for InvalidUrl {}
