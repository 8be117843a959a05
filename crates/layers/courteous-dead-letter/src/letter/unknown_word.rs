use std::{error::Error, fmt};

/// The error for an unknown word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWord(pub(crate) ());

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a word that is known here")
    }
}

impl Error for UnknownWord {}
