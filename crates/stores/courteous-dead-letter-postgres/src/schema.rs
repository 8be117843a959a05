use courteous_dead_letter::{StoreError, row::VERSION};

use crate::{
    error::QueryError,
    session::{Session, TABLE},
};

/// The advisory lock under which one machine at a time makes the tables: "crtL", twice.
const LOCK: i64 = 0x6372_744c_6372_744c;

/// Makes the tables if they are not there, and rejects tables of a newer version.
///
/// A change of the tables raises [`VERSION`]. Older tables are brought up to date here, one version
/// after another.
pub(crate) async fn prepare(session: &Session) -> Result<(), QueryError> {
    // `on` is the default, and some values are stricter. With `off`, letters that were reported as
    // durable could be lost.
    //
    // A table that has just filled up has no statistics. The planner would then find it cheap to
    // sort every waiting letter. Sorting is never needed: each order has an index.
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
        Some(found) => Err(QueryError::Found(StoreError::NewerSchema {
            found,
            known: VERSION,
        })),
        None => Err(QueryError::Found(StoreError::Corrupt {
            column: "version",
            id: None,
        })),
    }
}

async fn find(session: &Session) -> Result<Option<u32>, QueryError> {
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

/// Makes the tables in one transaction. Even if the connection breaks halfway, all of them are made
/// or none.
async fn create(session: &Session) -> Result<(), QueryError> {
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
        // This ends the transaction, if there is one. If the connection is broken, the rollback
        // cannot be sent. That does no harm.
        drop(session.batch("ROLLBACK").await);
    }
    done
}
