use bytes::Bytes;
use courteous_dead_letter::{
    LetterId, Record, Unreadable,
    row::{FailureRow, Row},
};
use tokio_postgres::{Row as Found, types::FromSql};
use uuid::Uuid;

/// All columns, in the order in which [`record`] reads them.
pub(crate) const COLUMNS: &str = "d.id, d.method, d.uri, d.headers, d.withheld, d.body_kind, d.body, d.key_header, \
     d.idempotency_key, d.first_at, d.tags::text, d.reason, d.attempts, d.history, d.maybe_sent, d.last_status, \
     d.last_error, d.last_at, d.not_before, d.state, d.status, d.fence, d.lease_until, d.replays, d.changed_at";

/// Reads rows that have [`COLUMNS`]. Returns the records, and the rows that cannot be read, both
/// sorted by id.
pub(crate) fn records(rows: &[Found]) -> (Vec<Record>, Vec<Unreadable>) {
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    for row in rows {
        match record(row) {
            Ok(record) => records.push(record),
            Err(one) => unreadable.push(one),
        }
    }
    records.sort_unstable_by_key(|record| record.letter.id);
    unreadable.sort_unstable_by_key(|unreadable| unreadable.id);
    (records, unreadable)
}

fn record(found: &Found) -> Result<Record, Unreadable> {
    let id = found.try_get(0).map_err(|_| Unreadable::new(None, "id"))?;
    let found = Named {
        found,
        id: id_of(id),
    };
    found.read()?.into_record()
}

/// A row whose id is known.
struct Named<'a> {
    found: &'a Found,
    id: LetterId,
}

impl Named<'_> {
    fn read(&self) -> Result<Row, Unreadable> {
        Ok(Row {
            id: self.id,
            method: self.get(1, "method")?,
            uri: self.get(2, "uri")?,
            headers: self.get(3, "headers")?,
            withheld: self.get(4, "withheld")?,
            body_kind: self.get(5, "body_kind")?,
            body: Bytes::from(self.get::<Vec<u8>>(6, "body")?),
            key_header: self.get(7, "key_header")?,
            idempotency_key: self.get(8, "idempotency_key")?,
            first_at: self.get(9, "first_at")?,
            tags: self.get(10, "tags")?,
            failure: FailureRow {
                reason: self.get(11, "reason")?,
                attempts: count(self.get(12, "attempts")?),
                history: self.get(13, "history")?,
                maybe_sent: self.get(14, "maybe_sent")?,
                last_status: self.get::<Option<i16>>(15, "last_status")?.map(status_of),
                last_error: self.get(16, "last_error")?,
                last_at: self.get(17, "last_at")?,
                not_before: self.get(18, "not_before")?,
            },
            state: self.get(19, "state")?,
            status: self.get::<Option<i16>>(20, "status")?.map(status_of),
            fence: self.get(21, "fence")?,
            lease_until: self.get(22, "lease_until")?,
            replays: count(self.get(23, "replays")?),
            changed_at: self.get(24, "changed_at")?,
        })
    }

    /// The value of a column. The row is in memory already, so an error means that the value is not
    /// of this type.
    fn get<'a, T: FromSql<'a>>(
        &'a self,
        index: usize,
        column: &'static str,
    ) -> Result<T, Unreadable> {
        let value = self.found.try_get(index);
        value.map_err(|_| Unreadable::new(Some(self.id), column))
    }
}

pub(crate) const fn uuid(id: LetterId) -> Uuid {
    Uuid::from_u128(id.to_bits())
}

pub(crate) const fn id_of(uuid: Uuid) -> LetterId {
    LetterId::from_bits(uuid.as_u128())
}

/// Status codes are below 1000.
pub(crate) const fn status(status: u16) -> i16 {
    status.cast_signed()
}

const fn status_of(status: i16) -> u16 {
    status.cast_unsigned()
}

/// The column was written from a `u32`.
fn count(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
