use bytes::Bytes;
use tokio_postgres::{Error, Row as Found};
use uuid::Uuid;

use super::error::Fault;
use crate::{
    LetterId, Record,
    row::{FailureRow, Row},
};

/// All columns, in the order in which [`record`] reads them.
pub(super) const COLUMNS: &str = "d.id, d.method, d.uri, d.headers, d.withheld, d.body_kind, d.body, d.key_header, \
     d.idempotency_key, d.first_at, d.tags::text, d.reason, d.attempts, d.history, d.maybe_sent, d.last_status, \
     d.last_error, d.last_at, d.not_before, d.state, d.status, d.fence, d.lease_until, d.replays, d.changed_at";

/// The records of rows that have [`COLUMNS`], sorted by id.
pub(super) fn records(rows: &[Found]) -> Result<Vec<Record>, Fault> {
    let mut records = rows.iter().map(record).collect::<Result<Vec<_>, Fault>>()?;
    records.sort_unstable_by_key(|record| record.letter.id);
    Ok(records)
}

fn record(found: &Found) -> Result<Record, Fault> {
    Ok(read(found)?.into_record()?)
}

fn read(found: &Found) -> Result<Row, Error> {
    Ok(Row {
        id: id_of(found.try_get(0)?),
        method: found.try_get(1)?,
        uri: found.try_get(2)?,
        headers: found.try_get(3)?,
        withheld: found.try_get(4)?,
        body_kind: found.try_get(5)?,
        body: Bytes::from(found.try_get::<_, Vec<u8>>(6)?),
        key_header: found.try_get(7)?,
        idempotency_key: found.try_get(8)?,
        first_at: found.try_get(9)?,
        tags: found.try_get(10)?,
        failure: FailureRow {
            reason: found.try_get(11)?,
            attempts: count(found.try_get(12)?),
            history: found.try_get(13)?,
            maybe_sent: found.try_get(14)?,
            last_status: found.try_get::<_, Option<i16>>(15)?.map(status_of),
            last_error: found.try_get(16)?,
            last_at: found.try_get(17)?,
            not_before: found.try_get(18)?,
        },
        state: found.try_get(19)?,
        status: found.try_get::<_, Option<i16>>(20)?.map(status_of),
        fence: found.try_get(21)?,
        lease_until: found.try_get(22)?,
        replays: count(found.try_get(23)?),
        changed_at: found.try_get(24)?,
    })
}

pub(super) const fn uuid(id: LetterId) -> Uuid {
    Uuid::from_u128(id.to_bits())
}

pub(super) const fn id_of(uuid: Uuid) -> LetterId {
    LetterId::from_bits(uuid.as_u128())
}

/// Status codes are below 1000.
pub(super) const fn status(status: u16) -> i16 {
    status.cast_signed()
}

const fn status_of(status: i16) -> u16 {
    status.cast_unsigned()
}

/// Written as `u32`.
fn count(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
