use std::{error::Error, fmt};

/// Why a body cannot be given again.
///
/// Not a failure: the body was, or is still being, sent once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotReplayable {
    /// More of the body was read than may be kept. With a limit of zero: some of it was read.
    TooLarge,
    /// The source failed while it was being read.
    SourceFailed,
    /// Bodies of this kind are never kept.
    OneShot,
}

impl fmt::Display for NotReplayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "more of the request body was sent than may be kept",
            Self::SourceFailed => "the request body's source has failed",
            Self::OneShot => "the request body can be sent once only",
        })
    }
}

impl Error for NotReplayable {}

/// The body was given again, and only its newest copy can be read.
///
/// An overtaken copy fails with this error and never just ends: a peer must not take half a body
/// for a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overtaken(());

impl Overtaken {
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

impl fmt::Display for Overtaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body was taken over by a newer attempt")
    }
}

impl Error for Overtaken {}
