use std::{error::Error, fmt, io};

use courteous_dead_letter::StoreError;
use tokio_postgres::error::SqlState;

/// An error from Postgres, or from the way to it. It is the source of a [`StoreError::Failed`] and
/// a [`PushError::Failed`](courteous_dead_letter::PushError::Failed).
///
/// It leaves out the database's detail, as that may show a row's content. It also leaves out
/// everything from the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresError {
    code: Option<String>,
    message: String,
    away: bool,
}

impl PostgresError {
    pub(crate) fn new(error: &tokio_postgres::Error) -> Self {
        let away = is_away(error);
        if let Some(error) = error.as_db_error() {
            return Self {
                code: Some(error.code().code().to_owned()),
                message: format!("{}: {}", error.severity(), error.message()),
                away,
            };
        }
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self {
            code: None,
            message,
            away,
        }
    }

    /// No answer came in time.
    pub(crate) fn silent() -> Self {
        Self {
            code: None,
            message: "no answer in time".to_owned(),
            away: true,
        }
    }

    /// Returns the error's code (`SQLSTATE`), if the database gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Whether the database could not be reached, or could not serve requests. Then nothing was
    /// wrong with the request.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        self.away
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for PostgresError {}

/// Whether the connection or the server is at fault, so that a new connection may do better.
fn is_away(error: &tokio_postgres::Error) -> bool {
    if let Some(code) = error.code() {
        let class = code.code().get(..2).unwrap_or_default();
        // Connection exceptions; a shutdown; too many connections; a standby that was the primary.
        return class == "08"
            || *code == SqlState::ADMIN_SHUTDOWN
            || *code == SqlState::CRASH_SHUTDOWN
            || *code == SqlState::CANNOT_CONNECT_NOW
            || *code == SqlState::TOO_MANY_CONNECTIONS
            || *code == SqlState::READ_ONLY_SQL_TRANSACTION;
    }
    error.is_closed() || error.source().is_some_and(|cause| cause.is::<io::Error>())
}

/// How a request to the database failed.
#[derive(Debug)]
pub(crate) enum QueryError {
    /// The connection is of no use any more.
    Away(PostgresError),
    /// Another try may do better. Causes are a deadlock, a lock or a statement that took too long
    /// for the server, or a transaction that could not be serialized.
    Again(PostgresError),
    /// The database has no room.
    NoRoom(PostgresError),
    /// The database refused the request.
    Refused(PostgresError),
    /// The data in the database does not allow the request.
    Found(StoreError),
}

impl QueryError {
    /// Whether any other letter would be refused as well, because the user, the tables or the
    /// server's disk are at fault.
    pub(crate) fn is_of_all(&self) -> bool {
        let Self::Refused(error) = self else {
            return false;
        };
        let class = error.code().and_then(|code| code.get(..2));
        // Authorization; no such database, or schema; no such table or permission; the system; the
        // configuration.
        matches!(class, Some("28" | "3D" | "3F" | "42" | "58" | "F0"))
    }

    /// Makes the error for one of the callers.
    pub(crate) fn to_error(&self) -> StoreError {
        match self {
            Self::Away(error) | Self::Again(error) | Self::NoRoom(error) | Self::Refused(error) => {
                StoreError::failed(error.clone())
            }
            Self::Found(error) => match error {
                StoreError::NotFound => StoreError::NotFound,
                StoreError::Claimed { until } => StoreError::Claimed { until: *until },
                StoreError::NewerSchema { found, known } => StoreError::NewerSchema {
                    found: *found,
                    known: *known,
                },
                StoreError::Corrupt { column, id } => StoreError::Corrupt { column, id: *id },
                other => StoreError::failed(other.to_string()),
            },
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(error) | Self::Again(error) | Self::NoRoom(error) | Self::Refused(error) => {
                error.fmt(f)
            }
            Self::Found(error) => error.fmt(f),
        }
    }
}

impl From<tokio_postgres::Error> for QueryError {
    fn from(error: tokio_postgres::Error) -> Self {
        let found = PostgresError::new(&error);
        match error.code().map(SqlState::code) {
            _ if found.away => Self::Away(found),
            Some("40001" | "40P01" | "55P03" | "57014") => Self::Again(found),
            Some(code) if code.starts_with("53") => Self::NoRoom(found),
            _ => Self::Refused(found),
        }
    }
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> Self {
        Self::Found(error)
    }
}
