use std::{fs, io, path::Path, time::Duration};

use courteous_dead_letter::StoreError;
use rusqlite::{Connection, OpenFlags};

use crate::{
    SqliteError, SqliteFault,
    file::create_new,
    reader::{Opened, immutable},
    schema,
};

/// How often a copy is tried, if the file changes during each try.
const TRIES: u32 = 3;

/// Copies the store at `source` to `target`, and creates `target`.
pub(crate) fn backup(source: &Path, target: &Path, timeout: Duration) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let opened = Opened::open(source, timeout)?;
        create_new(target, 0o600).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => SqliteError::because(
                SqliteFault::Inaccessible,
                format!("{} is there already", target.display()),
            ),
            _ => error.into(),
        })?;
        let copied = copy(&opened, target).and_then(|()| verify(target));
        let is_whole = opened.is_valid();
        if copied.is_ok() && is_whole {
            return Ok(());
        }
        // This call created the file, and it is of no use.
        let _ = fs::remove_file(target);
        if is_whole {
            return copied;
        }
    }
    Err(SqliteError::new(SqliteFault::Locked).into())
}

/// Copies one state of the store, whatever is written meanwhile. Makes the copy durable, as SQLite
/// does not sync it.
fn copy(opened: &Opened, target: &Path) -> Result<(), StoreError> {
    let name = target.to_str().ok_or_else(|| {
        SqliteError::because(
            SqliteFault::Inaccessible,
            format!("{} is not UTF-8", target.display()),
        )
    })?;
    // A relative name could look like a URI.
    let name = fs::canonicalize(name).map_err(SqliteError::from)?;
    opened
        .connection
        .execute("VACUUM INTO ?", [name.to_string_lossy()])
        .map_err(SqliteError::from)?;
    let sync = || {
        fs::OpenOptions::new().write(true).open(&name)?.sync_all()?;
        match name.parent() {
            // Only Unix can open a folder.
            Some(folder) if cfg!(unix) => fs::File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    };
    Ok(sync().map_err(SqliteError::from)?)
}

fn verify(target: &Path) -> Result<(), StoreError> {
    let path = fs::canonicalize(target).map_err(SqliteError::from)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection =
        Connection::open_with_flags(immutable(&path), flags).map_err(SqliteError::from)?;
    let sound: String = connection
        .query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))
        .map_err(SqliteError::from)?;
    if sound != "ok" || schema::is_new(&connection)? {
        return Err(SqliteError::because(SqliteFault::Damaged, sound).into());
    }
    Ok(())
}
