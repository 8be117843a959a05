use rusqlite::{Connection, params};

use crate::{
    LetterId,
    row::{FailureRow, Row},
};

/// Reads one of [`COLUMNS`].
pub(super) const COLUMNS: &str = "
    id, method, uri, headers, withheld, body_kind, body, key_header, idempotency_key, first_at, tags,
    reason, attempts, history, maybe_sent, last_status, last_error, last_at, not_before,
    state, status, fence, lease_until, replays, changed_at";

pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: LetterId::from_bits(u128::from_be_bytes(row.get("id")?)),
        method: row.get("method")?,
        uri: row.get("uri")?,
        headers: row.get("headers")?,
        withheld: row.get("withheld")?,
        body_kind: row.get("body_kind")?,
        body: row.get::<_, Vec<u8>>("body")?.into(),
        key_header: row.get("key_header")?,
        idempotency_key: row.get("idempotency_key")?,
        first_at: row.get("first_at")?,
        tags: row.get("tags")?,
        failure: FailureRow {
            reason: row.get("reason")?,
            attempts: row.get("attempts")?,
            history: row.get("history")?,
            maybe_sent: row.get("maybe_sent")?,
            last_status: row.get("last_status")?,
            last_error: row.get("last_error")?,
            last_at: row.get("last_at")?,
            not_before: row.get("not_before")?,
        },
        state: row.get("state")?,
        status: row.get("status")?,
        fence: row.get("fence")?,
        lease_until: row.get("lease_until")?,
        replays: row.get("replays")?,
        changed_at: row.get("changed_at")?,
    })
}

/// How an id is stored: its bytes, which sort as it does.
pub(super) const fn id(id: LetterId) -> [u8; 16] {
    id.to_bits().to_be_bytes()
}

/// About how many bytes a row has in memory.
pub(super) fn size(row: &Row) -> usize {
    let texts = [&row.uri, &row.headers, &row.tags, &row.failure.history];
    let texts: usize = texts.iter().map(|text| text.len()).sum();
    let error = row.failure.last_error.as_ref().map_or(0, String::len);
    size_of::<Row>() + row.body.len() + texts + error
}

/// Adds a row, unless there is one with its id.
pub(super) fn insert(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
    let failure = &row.failure;
    let added = connection.execute(
        "INSERT INTO letters (id, first_at, tags, reason, attempts, history, maybe_sent, last_status, last_error,
             last_at, not_before, state, status, fence, lease_until, replays, changed_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        params![
            id(row.id),
            row.first_at,
            row.tags,
            failure.reason,
            failure.attempts,
            failure.history,
            failure.maybe_sent,
            failure.last_status,
            failure.last_error,
            failure.last_at,
            failure.not_before,
            row.state,
            row.status,
            row.fence,
            row.lease_until,
            row.replays,
            row.changed_at,
        ],
    )?;
    if added == 0 {
        return Ok(());
    }
    connection.execute(
        "INSERT INTO requests (seq, method, uri, headers, withheld, key_header, idempotency_key, body_kind, body)
         VALUES (last_insert_rowid(), ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            row.method,
            row.uri,
            row.headers,
            row.withheld,
            row.key_header,
            row.idempotency_key,
            row.body_kind,
            &row.body[..],
        ],
    )?;
    Ok(())
}

/// Writes another failure over the one that is there.
pub(super) fn update_failure(
    connection: &Connection,
    id: [u8; 16],
    failure: &FailureRow,
) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE letters SET reason = ?, attempts = ?, history = ?, maybe_sent = ?, last_status = ?, last_error = ?,
             last_at = ?, not_before = ?
         WHERE id = ?",
        params![
            failure.reason,
            failure.attempts,
            failure.history,
            failure.maybe_sent,
            failure.last_status,
            failure.last_error,
            failure.last_at,
            failure.not_before,
            id,
        ],
    )?;
    Ok(())
}
