use std::{error::Error, fmt};

/// A word that is none of those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWord(pub(crate) ());

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a word that is known here")
    }
}

impl Error for UnknownWord {}
