use std::{error::Error, fmt};

/// A rate that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRate {
    value: String,
    rule: &'static str,
}

impl InvalidRate {
    pub(crate) const fn new(value: String, rule: &'static str) -> Self {
        Self { value, rule }
    }

    pub(crate) const fn rule(&self) -> &'static str {
        self.rule
    }
}

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid rate `{}`: {}", self.value, self.rule)
    }
}

impl Error for InvalidRate {}
