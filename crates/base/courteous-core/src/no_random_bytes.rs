use std::{error::Error, fmt};

/// The operating system had no random bytes to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandomBytes(pub(crate) getrandom::Error);

impl fmt::Display for NoRandomBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operating system gave no random bytes")
    }
}

impl Error for NoRandomBytes {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_failed_and_leaves_the_cause_to_its_source() {
        let error = NoRandomBytes(getrandom::Error::UNSUPPORTED);
        assert_eq!(
            error.to_string(),
            "the operating system gave no random bytes"
        );
        assert!(error.source().is_some());
    }
}
