use std::{error::Error, fmt};

/// The script has no answer for a call: the call fails with this error.
///
/// It comes as the source of a [`Classified`](courteous_core::Classified) error which says that
/// another attempt would fail alike: no retry hides it. A server answers 501 with this text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnexpectedCall {
    number: usize,
    line: String,
    answers: usize,
}

impl UnexpectedCall {
    pub(crate) const fn new(number: usize, line: String, answers: usize) -> Self {
        Self {
            number,
            line,
            answers,
        }
    }

    /// The number of the call among all calls, from 1.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }
}

impl fmt::Display for UnexpectedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            line,
            answers,
        } = self;
        write!(f, "unexpected call #{number}, {line}: ")?;
        match answers {
            0 => f.write_str("the script has no answer for it"),
            1 => f.write_str("its script has 1 answer, and it was given"),
            _ => write!(f, "its script has {answers} answers, and all were given"),
        }
    }
}

impl Error for UnexpectedCall {}
