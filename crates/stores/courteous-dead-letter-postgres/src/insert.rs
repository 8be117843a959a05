use std::time::UNIX_EPOCH;

use courteous_dead_letter::{Letter, row::Row, row::without_nul};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::{
    columns::{status, uuid},
    error::QueryError,
    session::{NOW, Session, TABLE},
};

/// Writes letters in one statement, which is one transaction. Leaves existing letters as they are.
/// So this can be repeated when it is unknown whether it was done.
pub(crate) async fn insert(session: &Session, letters: &[&Letter]) -> Result<(), QueryError> {
    let columns = Columns::of(letters);
    let statement = format!(
        "WITH t AS ({NOW})
         INSERT INTO {TABLE} (id, method, uri, headers, withheld, body_kind, body, key_header, idempotency_key, first_at,
             tags, reason, attempts, history, maybe_sent, last_status, last_error, last_at, not_before,
             state, fence, replays, changed_at)
         SELECT n.id, n.method, n.uri, n.headers, n.withheld, n.body_kind, n.body, n.key_header, n.idempotency_key,
             n.first_at, n.tags::jsonb, n.reason, n.attempts, n.history, n.maybe_sent, n.last_status, n.last_error,
             n.last_at, n.not_before, n.state, 0, 0, t.now
         FROM t, unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::text[],
             $10::text[], $11::int8[], $12::text[], $13::text[], $14::int8[], $15::text[], $16::bool[], $17::int2[],
             $18::text[], $19::int8[], $20::int8[], $21::text[])
             AS n (id, method, uri, headers, withheld, body_kind, body, key_header, idempotency_key, first_at, tags,
                 reason, attempts, history, maybe_sent, last_status, last_error, last_at, not_before, state)
         ON CONFLICT (id) DO NOTHING"
    );
    let c = &columns;
    let advanced = session.advanced();
    session
        .query(
            &statement,
            &[
                (&advanced, Type::INT8),
                (&c.id, Type::UUID_ARRAY),
                (&c.method, Type::TEXT_ARRAY),
                (&c.uri, Type::TEXT_ARRAY),
                (&c.headers, Type::TEXT_ARRAY),
                (&c.withheld, Type::TEXT_ARRAY),
                (&c.body_kind, Type::TEXT_ARRAY),
                (&c.body, Type::BYTEA_ARRAY),
                (&c.key_header, Type::TEXT_ARRAY),
                (&c.idempotency_key, Type::TEXT_ARRAY),
                (&c.first_at, Type::INT8_ARRAY),
                (&c.tags, Type::TEXT_ARRAY),
                (&c.reason, Type::TEXT_ARRAY),
                (&c.attempts, Type::INT8_ARRAY),
                (&c.history, Type::TEXT_ARRAY),
                (&c.maybe_sent, Type::BOOL_ARRAY),
                (&c.last_status, Type::INT2_ARRAY),
                (&c.last_error, Type::TEXT_ARRAY),
                (&c.last_at, Type::INT8_ARRAY),
                (&c.not_before, Type::INT8_ARRAY),
                (&c.state, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

/// The letters' values, column by column.
#[derive(Default)]
struct Columns<'a> {
    id: Vec<Uuid>,
    method: Vec<String>,
    uri: Vec<String>,
    headers: Vec<String>,
    withheld: Vec<String>,
    body_kind: Vec<String>,
    body: Vec<&'a [u8]>,
    key_header: Vec<Option<String>>,
    idempotency_key: Vec<Option<String>>,
    first_at: Vec<i64>,
    tags: Vec<String>,
    reason: Vec<String>,
    attempts: Vec<i64>,
    history: Vec<String>,
    maybe_sent: Vec<bool>,
    last_status: Vec<Option<i16>>,
    last_error: Vec<Option<String>>,
    last_at: Vec<i64>,
    not_before: Vec<Option<i64>>,
    state: Vec<String>,
}

impl<'a> Columns<'a> {
    fn of(letters: &[&'a Letter]) -> Self {
        let mut columns = Self::default();
        for letter in letters {
            // The time of the change comes from the database.
            columns.add(Row::new(letter, UNIX_EPOCH), letter);
        }
        columns
    }

    fn add(&mut self, row: Row, letter: &'a Letter) {
        let failure = row.failure;
        self.id.push(uuid(row.id));
        self.method.push(row.method);
        self.uri.push(row.uri);
        self.headers.push(row.headers);
        self.withheld.push(row.withheld);
        self.body_kind.push(row.body_kind);
        self.body.push(letter.payload.bytes());
        self.key_header.push(row.key_header);
        self.idempotency_key.push(row.idempotency_key);
        self.first_at.push(row.first_at);
        self.tags.push(row.tags);
        self.reason.push(failure.reason);
        self.attempts.push(failure.attempts.into());
        self.history.push(failure.history);
        self.maybe_sent.push(failure.maybe_sent);
        self.last_status.push(failure.last_status.map(status));
        // Text in Postgres cannot hold NUL.
        self.last_error.push(failure.last_error.map(without_nul));
        self.last_at.push(failure.last_at);
        self.not_before.push(failure.not_before);
        self.state.push(row.state);
    }
}
