use std::{error::Error, fmt, io, path::Path, sync::Arc};

use courteous_dead_letter::{PushError, StoreError};
use rusqlite::ErrorCode;

use crate::rights::missing;

/// Why the file of an [`SqliteStore`](crate::SqliteStore) could not be used.
///
/// [`StoreError::Failed`] and [`PushError::Failed`] hold this error. `find_cause` finds it.
#[derive(Clone, Debug)]
pub struct SqliteError {
    fault: SqliteFault,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The kinds of [`SqliteError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SqliteFault {
    /// Another program was writing for the whole lock timeout. Nothing was changed.
    Locked,
    /// The disk is full, or the file has reached its largest size. Nothing was changed.
    Full,
    /// The file is damaged.
    Damaged,
    /// The file is not a file of dead letters.
    Alien,
    /// One of the store's three files was removed, renamed or replaced while it was open, or its
    /// path leads elsewhere now. Letters that are written now would not be found again, so they are
    /// not acknowledged. Open the store again.
    Moved,
    /// There is no such file, or it may not be opened or written. If a right is missing, the source
    /// says which.
    Inaccessible,
    /// Other users have more rights on the file than they [may
    /// have](crate::SqliteSettings::with_mode), and this user cannot take these rights away.
    Exposed,
    /// Too many callers wait for the store already.
    Overloaded,
    /// Something else. The source says what.
    Other,
}

impl SqliteError {
    pub(crate) const fn new(fault: SqliteFault) -> Self {
        Self {
            fault,
            source: None,
        }
    }

    pub(crate) fn because(fault: SqliteFault, text: String) -> Self {
        let source: Box<dyn Error + Send + Sync> = text.into();
        Self {
            fault,
            source: Some(source.into()),
        }
    }

    /// Adds the right that is missing at `path`, if a right is missing and the error does not say
    /// more already.
    pub(crate) fn with_missing_right(self, path: &Path, to_write: bool) -> Self {
        let says_more = |source: &Arc<dyn Error + Send + Sync>| {
            !source.is::<rusqlite::Error>() && !source.is::<io::Error>()
        };
        let is_open = match self.fault {
            SqliteFault::Exposed => true,
            SqliteFault::Inaccessible | SqliteFault::Other => {
                !self.source.as_ref().is_some_and(says_more)
            }
            _ => false,
        };
        match missing(path, to_write) {
            Some(right) if is_open => Self::because(SqliteFault::Inaccessible, right),
            _ => self,
        }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub const fn fault(&self) -> SqliteFault {
        self.fault
    }
}

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.fault {
            SqliteFault::Locked => "somebody else keeps the file of dead letters locked",
            SqliteFault::Full => "the disk, or the file of dead letters, is full",
            SqliteFault::Damaged => "the file of dead letters is damaged",
            SqliteFault::Alien => "the file is not one of dead letters",
            SqliteFault::Moved => {
                "the file of dead letters, or its log, was removed, renamed or replaced: open the store again"
            }
            SqliteFault::Inaccessible => "the file of dead letters cannot be opened or written",
            SqliteFault::Exposed => "others have too many rights on the file of dead letters",
            SqliteFault::Overloaded => "too many callers wait for the store of dead letters",
            SqliteFault::Other => "SQLite failed",
        })
    }
}

impl Error for SqliteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        let fault = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SqliteFault::Locked,
            Some(ErrorCode::DiskFull) => SqliteFault::Full,
            Some(ErrorCode::DatabaseCorrupt) => SqliteFault::Damaged,
            Some(ErrorCode::NotADatabase) => SqliteFault::Alien,
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                SqliteFault::Inaccessible
            }
            _ => SqliteFault::Other,
        };
        Self {
            fault,
            source: Some(Arc::new(error)),
        }
    }
}

impl From<io::Error> for SqliteError {
    fn from(error: io::Error) -> Self {
        let fault = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SqliteFault::Full,
            _ => SqliteFault::Inaccessible,
        };
        Self {
            fault,
            source: Some(Arc::new(error)),
        }
    }
}

impl From<SqliteError> for StoreError {
    fn from(error: SqliteError) -> Self {
        Self::failed(error)
    }
}

/// Takes the [`SqliteError`] out of a store's error.
pub(crate) fn into_sqlite(error: StoreError) -> SqliteError {
    match error {
        StoreError::Failed(error) => match error.downcast::<SqliteError>() {
            Ok(error) => *error,
            Err(error) => SqliteError::because(SqliteFault::Other, error.to_string()),
        },
        other => SqliteError::because(SqliteFault::Other, other.to_string()),
    }
}

impl From<SqliteError> for PushError {
    fn from(error: SqliteError) -> Self {
        match error.fault {
            SqliteFault::Full => Self::Full,
            _ => Self::failed(error),
        }
    }
}
