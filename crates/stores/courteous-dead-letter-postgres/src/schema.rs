use courteous_dead_letter::{StoreError, row::VERSION};

use crate::{
    error::Fault,
    session::{Session, TABLE},
};

/// Only one machine at a time makes the tables: "crtL", twice.
const LOCK: i64 = 0x6372_744c_6372_744c;

/// Makes the tables if they are not there, and refuses those of a newer version.
///
/// A change of the tables raises [`VERSION`], and older ones are brought up to it here, one version after another.
pub(crate) async fn prepare(session: &Session) -> Result<(), Fault> {
    // `on` is the default, and some are stricter. With `off`, what was said to be durable could be lost.
    //
    // A table that has just filled up has no statistics, and sorting all that waits would look cheap then; there is an index
    // in every order that is asked for.
    session
        .batch(
            "SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') = 'off';
             SET enable_sort = off",
        )
        .await?;
    if find(session).await?.is_none() {
        create(session).await?;
    }
    match find(session).await? {
        Some(VERSION) => Ok(()),
        Some(found) => Err(Fault::Found(StoreError::NewerSchema {
            found,
            known: VERSION,
        })),
        None => Err(Fault::Found(StoreError::Corrupt {
            column: "version",
            id: None,
        })),
    }
}

async fn find(session: &Session) -> Result<Option<u32>, Fault> {
    let table = format!("SELECT to_regclass('{TABLE}_schema') IS NOT NULL");
    let rows = session.query(&table, &[]).await?;
    if !matches!(rows.first().map(|row| row.try_get(0)), Some(Ok(true))) {
        return Ok(None);
    }
    let version = format!("SELECT version FROM {TABLE}_schema");
    let rows = session.query(&version, &[]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let version: i32 = row.try_get(0)?;
    let version = u32::try_from(version).map_err(|_| StoreError::Corrupt {
        column: "version",
        id: None,
    })?;
    Ok(Some(version))
}

/// In one transaction: also if the connection breaks in the middle, there is all of it or nothing.
async fn create(session: &Session) -> Result<(), Fault> {
    let statements = format!(
        "BEGIN;
         SELECT pg_advisory_xact_lock({LOCK});
         CREATE TABLE IF NOT EXISTS {TABLE} (
             id uuid PRIMARY KEY,
             method text NOT NULL,
             uri text NOT NULL,
             headers text NOT NULL,
             withheld text NOT NULL,
             body_kind text NOT NULL,
             body bytea NOT NULL,
             key_header text,
             idempotency_key text,
             first_at int8 NOT NULL,
             tags jsonb NOT NULL,
             reason text NOT NULL,
             attempts int8 NOT NULL,
             history text NOT NULL,
             maybe_sent bool NOT NULL,
             last_status int2,
             last_error text,
             last_at int8 NOT NULL,
             not_before int8,
             state text NOT NULL,
             status int2,
             fence int8 NOT NULL,
             lease_until int8,
             replays int8 NOT NULL,
             changed_at int8 NOT NULL
         );
         CREATE INDEX IF NOT EXISTS {TABLE}_undelivered ON {TABLE} (id) WHERE state IN ('pending', 'claimed');
         CREATE INDEX IF NOT EXISTS {TABLE}_settled ON {TABLE} (changed_at) WHERE state NOT IN ('pending', 'claimed');
         CREATE INDEX IF NOT EXISTS {TABLE}_key ON {TABLE} (idempotency_key);
         CREATE TABLE IF NOT EXISTS {TABLE}_schema (version int4 NOT NULL);
         INSERT INTO {TABLE}_schema SELECT {VERSION} WHERE NOT EXISTS (SELECT FROM {TABLE}_schema);
         COMMIT"
    );
    let done = session.batch(&statements).await;
    if done.is_err() {
        // The transaction, if there is one, is over; that it cannot be said if the connection is broken does not matter.
        drop(session.batch("ROLLBACK").await);
    }
    done
}
