use std::{error::Error, fmt, time::SystemTime};

use courteous_core::BoxError;

use crate::{LetterId, Unreadable};

/// Why a [`Sink`](crate::Sink) has not kept a letter.
#[derive(Debug)]
#[non_exhaustive]
pub enum PushError {
    /// The sink is full, including the letters that it may hold in memory meanwhile.
    Full,
    /// The sink takes no more letters: it was closed, or its thread has ended.
    Closed,
    /// The write failed. If its answer was lost, the letter may still be kept.
    Failed(BoxError),
}

impl PushError {
    /// The write failed with `error`.
    pub fn failed(error: impl Into<BoxError>) -> Self {
        Self::Failed(error.into())
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the store of dead letters is full",
            Self::Closed => "the store of dead letters is closed",
            Self::Failed(_) => "the dead letter could not be written",
        })
    }
}

impl Error for PushError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(source) => Some(&**source),
            Self::Full | Self::Closed => None,
        }
    }
}

/// Why a [`LetterStore`](crate::LetterStore) has not done what it was asked to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such record.
    NotFound,
    /// Another caller has claimed the record since, or it was marked: the outcome was not written.
    StaleFence,
    /// The record is being sent again, and must not be changed before `until`.
    Claimed {
        /// When the claim ends, by the store's clock.
        until: SystemTime,
    },
    /// The store was written by a newer version of this crate. It was left as it is.
    NewerSchema {
        /// The version of the store's schema.
        found: u32,
        /// The newest one that this crate knows.
        known: u32,
    },
    /// The stored data cannot be read.
    Corrupt {
        /// The faulty column.
        column: &'static str,
        /// The faulty record, if it is a record: it can still be [marked](crate::LetterStore::mark)
        /// as discarded.
        id: Option<LetterId>,
    },
    /// A body was encrypted with another key, was changed, or does not belong to this letter's id,
    /// method and target.
    WrongKey,
    /// The store is closed.
    Closed,
    /// The database failed, or could not be reached.
    Failed(BoxError),
}

impl StoreError {
    /// The database failed with `error`.
    pub fn failed(error: impl Into<BoxError>) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Unreadable> for StoreError {
    fn from(Unreadable { id, column }: Unreadable) -> Self {
        Self::Corrupt { column, id }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such dead letter"),
            Self::StaleFence => f.write_str("the dead letter is claimed by somebody else by now"),
            Self::Claimed { .. } => f.write_str("the dead letter is being sent again"),
            Self::NewerSchema { found, known } => write!(
                f,
                "the store has schema {found}, and this version knows {known} at most"
            ),
            Self::Corrupt { column, id } => Unreadable::new(*id, column).fmt(f),
            Self::WrongKey => f.write_str("a body was encrypted with another key, was changed, or is of another letter, method or target"),
            Self::Closed => f.write_str("the store of dead letters is closed"),
            Self::Failed(_) => f.write_str("the store of dead letters failed"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(source) => Some(&**source),
            _ => None,
        }
    }
}
