use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::{SqliteError, SqliteFault};
use crate::{StoreError, row};

/// Marks a file as one of dead letters: its header has "crtL" at offset 68.
const APPLICATION: i64 = 0x6372_744c;

/// What changes is apart from what does not: a claim then writes some hundred bytes, however long the body is.
///
/// `letters_open` is what a claim walks along; it holds all that decides whether a letter can be claimed.
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

/// Whether the tables are still to be made. A file that is something else is refused.
///
/// An older version will be brought up to this one where a new file gets its tables: step by step, in one transaction.
pub(super) fn is_new(connection: &Connection) -> Result<bool, StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = pragma("application_id").map_err(SqliteError::from)?;
    let version = pragma("user_version").map_err(SqliteError::from)?;
    if application == 0 && version == 0 && is_empty(connection).map_err(SqliteError::from)? {
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
pub(super) fn create(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(SqliteError::from)?;
    if is_new(&transaction)? {
        make_tables(&transaction).map_err(SqliteError::from)?;
    }
    transaction.commit().map_err(SqliteError::from)?;
    Ok(())
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let table = connection.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(()));
    Ok(table.optional()?.is_none())
}

fn make_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", i64::from(row::VERSION))
}
