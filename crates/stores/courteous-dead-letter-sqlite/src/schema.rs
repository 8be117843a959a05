use courteous_dead_letter::{StoreError, row};
use rusqlite::{Connection, TransactionBehavior};

use crate::{SqliteError, SqliteFault};

/// Marks a file as one of dead letters: its header has "crtL" at offset 68.
const APPLICATION: i32 = 0x6372_744c;

/// Columns that change are in another table than those that do not. So a claim writes some hundred
/// bytes, however long the body is.
///
/// A claim walks along the index `letters_open`. It holds all that decides whether a letter can be
/// claimed.
const TABLES: &str = "
CREATE TABLE letters (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    first_at INTEGER NOT NULL,
    tags TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    history TEXT NOT NULL,
    maybe_sent INTEGER NOT NULL,
    last_status INTEGER,
    last_error TEXT,
    last_at INTEGER NOT NULL,
    not_before INTEGER,
    state TEXT NOT NULL,
    status INTEGER,
    fence INTEGER NOT NULL,
    lease_until INTEGER,
    replays INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    due_at INTEGER AS (max(ifnull(lease_until, 0), ifnull(not_before, 0)))
) STRICT;
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY,
    method TEXT NOT NULL,
    uri TEXT NOT NULL,
    headers TEXT NOT NULL,
    withheld TEXT NOT NULL,
    key_header TEXT,
    idempotency_key TEXT,
    body_kind TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX letters_by_id ON letters (id);
CREATE INDEX letters_open ON letters (id, due_at) WHERE state IN ('pending', 'claimed');
CREATE INDEX letters_final ON letters (changed_at) WHERE state NOT IN ('pending', 'claimed');
CREATE INDEX letters_by_state ON letters (state, id, reason);
";

/// Reads the header in one statement, and so in one state of the file: another process may just be
/// making the tables.
const HEADER: &str = "SELECT application_id, user_version, NOT EXISTS (SELECT 1 FROM sqlite_schema)
    FROM pragma_application_id, pragma_user_version";

/// Whether the tables are still to be made. Rejects a file that is something else.
///
/// An older version will be brought up to date where a new file gets its tables: step by step, in
/// one transaction.
pub(crate) fn is_new(connection: &Connection) -> Result<bool, StoreError> {
    let (application, version, is_empty): (i32, i32, bool) = connection
        .query_row(HEADER, (), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .map_err(SqliteError::from)?;
    if (application, version, is_empty) == (0, 0, true) {
        return Ok(true);
    }
    if application != APPLICATION {
        return Err(SqliteError::new(SqliteFault::Alien).into());
    }
    match u32::try_from(version) {
        Ok(row::VERSION) => Ok(false),
        Ok(found) if found > row::VERSION => Err(StoreError::NewerSchema {
            found,
            known: row::VERSION,
        }),
        _ => Err(SqliteError::new(SqliteFault::Damaged).into()),
    }
}

/// Makes the tables, unless another process has just done it.
pub(crate) fn create(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(SqliteError::from)?;
    if is_new(&transaction)? {
        make_tables(&transaction).map_err(SqliteError::from)?;
    }
    transaction.commit().map_err(SqliteError::from)?;
    Ok(())
}

fn make_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", row::VERSION)
}
