use std::{error::Error, fmt};

/// An [`Answer`](crate::Answer) has a setting that cannot be: the call that should get it fails
/// with this error.
///
/// It comes as the source of a [`Classified`](courteous_core::Classified) error which says that
/// another attempt would fail alike: no retry hides it. A server answers 501 with this text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAnswer {
    rule: String,
}

impl InvalidAnswer {
    pub(crate) const fn new(rule: String) -> Self {
        Self { rule }
    }
}

impl fmt::Display for InvalidAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid answer: {}", self.rule)
    }
}

impl Error for InvalidAnswer {}
