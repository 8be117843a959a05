use std::{error::Error, fmt, io, sync::Arc};

use rusqlite::ErrorCode;

use crate::{PushError, StoreError};

/// Why the file of an [`SqliteStore`](crate::SqliteStore) could not be used.
///
/// It is what [`StoreError::Failed`] and [`PushError::Failed`] hold: found with `find_cause`.
#[derive(Clone, Debug)]
pub struct SqliteError {
    fault: SqliteFault,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The kinds of [`SqliteError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SqliteFault {
    /// Somebody else was writing all the time that was waited for it: nothing was changed.
    Locked,
    /// The disk is full, or the file has the size that it may have: nothing was changed.
    Full,
    /// The file is damaged.
    Damaged,
    /// The file is not one of dead letters.
    Alien,
    /// The file was removed or replaced while it was open: what is written to it now would be lost.
    Moved,
    /// There is no such file, or it may not be opened or written.
    Inaccessible,
    /// Too many callers wait for the store already.
    Overloaded,
    /// Something else; the source says what.
    Other,
}

impl SqliteError {
    pub(super) const fn new(fault: SqliteFault) -> Self {
        Self {
            fault,
            source: None,
        }
    }

    /// What kind of error it is.
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
            SqliteFault::Moved => "the file of dead letters was removed or replaced",
            SqliteFault::Inaccessible => "the file of dead letters cannot be opened or written",
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

impl From<SqliteError> for PushError {
    fn from(error: SqliteError) -> Self {
        match error.fault {
            SqliteFault::Full => Self::Full,
            _ => Self::failed(error),
        }
    }
}
