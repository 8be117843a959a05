use courteous_dead_letter::{
    LetterId, Unreadable,
    row::{FailureRow, Row},
};
use rusqlite::{Connection, params, types::FromSql};

/// The columns that [`read`] reads.
pub(crate) const COLUMNS: &str = "
    id, method, uri, headers, withheld, body_kind, body, key_header, idempotency_key, first_at, tags,
    reason, attempts, history, maybe_sent, last_status, last_error, last_at, not_before,
    state, status, fence, lease_until, replays, changed_at";

/// The same columns, but with an empty body in place of the real one. That is enough to see whether
/// the rest can be read.
pub(crate) const BUT_BODY: &str = "
    id, method, uri, headers, withheld, body_kind, iif(body IS NULL, NULL, x'') AS body, key_header, idempotency_key,
    first_at, tags, reason, attempts, history, maybe_sent, last_status, last_error, last_at, not_before,
    state, status, fence, lease_until, replays, changed_at";

pub(crate) fn read(row: &rusqlite::Row<'_>) -> Result<Row, Unreadable> {
    let id = row.get("id").map_err(|_| Unreadable::new(None, "id"))?;
    let found = Found {
        row,
        id: LetterId::from_bits(u128::from_be_bytes(id)),
    };
    Ok(Row {
        id: found.id,
        method: found.get("method")?,
        uri: found.get("uri")?,
        headers: found.get("headers")?,
        withheld: found.get("withheld")?,
        body_kind: found.get("body_kind")?,
        body: found.get::<Vec<u8>>("body")?.into(),
        key_header: found.get("key_header")?,
        idempotency_key: found.get("idempotency_key")?,
        first_at: found.get("first_at")?,
        tags: found.get("tags")?,
        failure: FailureRow {
            reason: found.get("reason")?,
            attempts: found.get("attempts")?,
            history: found.get("history")?,
            maybe_sent: found.get("maybe_sent")?,
            last_status: found.get("last_status")?,
            last_error: found.get("last_error")?,
            last_at: found.get("last_at")?,
            not_before: found.get("not_before")?,
        },
        state: found.get("state")?,
        status: found.get("status")?,
        fence: found.get("fence")?,
        lease_until: found.get("lease_until")?,
        replays: found.get("replays")?,
        changed_at: found.get("changed_at")?,
    })
}

/// A row whose id is known.
struct Found<'a> {
    row: &'a rusqlite::Row<'a>,
    id: LetterId,
}

impl Found<'_> {
    /// The value of a column. The row is in memory already, so an error means that the value is not
    /// of this type, such as a text that is not UTF-8.
    fn get<T: FromSql>(&self, column: &'static str) -> Result<T, Unreadable> {
        let value = self.row.get(column);
        value.map_err(|_| Unreadable::new(Some(self.id), column))
    }
}

/// The stored form of an id: its bytes, which sort as the id does.
pub(crate) const fn id(id: LetterId) -> [u8; 16] {
    id.to_bits().to_be_bytes()
}

/// Estimates how many bytes a row takes in memory.
pub(crate) fn size(row: &Row) -> usize {
    let texts = [&row.uri, &row.headers, &row.tags, &row.failure.history];
    let texts: usize = texts.iter().map(|text| text.len()).sum();
    let error = row.failure.last_error.as_ref().map_or(0, String::len);
    size_of::<Row>() + row.body.len() + texts + error
}

/// Adds a row, unless there is one with its id.
pub(crate) fn insert(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
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

/// Replaces the failure of a record.
pub(crate) fn update_failure(
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
