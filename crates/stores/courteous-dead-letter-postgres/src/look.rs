//! Requests that are made one at a time.

use std::time::Duration;

use courteous_dead_letter::{
    Claim, Claimed, Count, Filter, LetterId, Mark, Page, Record, StateKind, Stats, StoreError,
    Unreadable, row::time,
};
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use crate::{
    columns::{COLUMNS, id_of, records, uuid},
    error::QueryError,
    session::{NOW, Param, Session, TABLE, micros},
};

/// Claims records. Releases at once the records that cannot be read, and claims others in their
/// place.
pub(crate) async fn claim(session: &Session, claim: &Claim) -> Result<Claimed, QueryError> {
    let mut wanted = claim.clone();
    let mut claimed = Claimed::default();
    loop {
        let rows = claim_rows(session, &wanted).await?;
        let (records, unreadable) = records(&rows);
        let last = records.last().map(|record| record.letter.id);
        claimed.records.extend(records);
        if unreadable.is_empty() {
            return Ok(claimed);
        }
        let ids: Vec<_> = unreadable.iter().filter_map(|found| found.id).collect();
        release(session, &ids).await?;
        wanted.after = last.max(ids.last().copied()).max(wanted.after);
        wanted.max = u32::try_from(unreadable.len()).unwrap_or(u32::MAX);
        claimed.unreadable.extend(unreadable);
    }
}

/// Makes unreadable records pending again after they were claimed here.
async fn release(session: &Session, ids: &[LetterId]) -> Result<(), QueryError> {
    let statement = format!(
        "UPDATE {TABLE} SET state = 'pending', lease_until = NULL WHERE id = ANY ($1) AND state = 'claimed'"
    );
    let ids: Vec<_> = ids.iter().copied().map(uuid).collect();
    let params: &[Param<'_>] = &[(&ids, Type::UUID_ARRAY)];
    session.query(&statement, params).await.map(drop)
}

async fn claim_rows(session: &Session, claim: &Claim) -> Result<Vec<Row>, QueryError> {
    let wanted = Wanted::new(&claim.filter, claim.after);
    let statement = format!(
        "WITH t AS ({NOW}), due AS (
             SELECT d.id FROM {TABLE} d
             WHERE d.state IN ('pending', 'claimed')
                 AND (d.state = 'pending' OR d.lease_until <= (SELECT now FROM t))
                 AND (d.not_before IS NULL OR d.not_before <= (SELECT now FROM t))
                 AND ($7::uuid IS NULL OR d.id = $7)
                 -- Else it would overflow, and fail the claim of all others.
                 AND d.fence < 9223372036854775807
                 {WANTED}
             ORDER BY d.id
             LIMIT $8
             FOR UPDATE OF d SKIP LOCKED
         )
         UPDATE {TABLE} d SET state = 'claimed', fence = d.fence + 1, changed_at = t.now,
             lease_until = LEAST(t.now::numeric + $9::int8, 9223372036854775807)::int8
         FROM t
         WHERE d.id = ANY (ARRAY(SELECT id FROM due))
         RETURNING {COLUMNS}"
    );
    let (id, max) = (claim.id.map(uuid), i64::from(claim.max));
    let (advanced, lease) = (session.advanced(), micros(claim.lease));
    session
        .query(
            &statement,
            &[
                (&advanced, Type::INT8),
                (&wanted.after, Type::UUID),
                (&wanted.reason, Type::TEXT),
                (&wanted.tag, Type::TEXT),
                (&wanted.value, Type::TEXT),
                (&wanted.before, Type::UUID),
                (&id, Type::UUID),
                (&max, Type::INT8),
                (&lease, Type::INT8),
            ],
        )
        .await
}

pub(crate) async fn get(session: &Session, id: LetterId) -> Result<Option<Record>, QueryError> {
    let statement = format!("SELECT {COLUMNS} FROM {TABLE} d WHERE d.id = $1");
    let rows = session
        .query(&statement, &[(&uuid(id), Type::UUID)])
        .await?;
    let (mut records, unreadable) = records(&rows);
    match unreadable.first() {
        Some(unreadable) => Err(StoreError::from(*unreadable).into()),
        None => Ok(records.pop()),
    }
}

pub(crate) async fn list(
    session: &Session,
    filter: &Filter,
    mut page: Page,
) -> Result<Vec<Record>, QueryError> {
    let mut listed = Vec::new();
    loop {
        let rows = list_rows(session, COLUMNS, filter, page).await?;
        let (records, unreadable) = records(&rows);
        page.after = last_id(&records, &unreadable).max(page.after);
        listed.extend(records);
        // Next, list as many more records as could not be read.
        page.limit = match rows.len() < page.limit as usize {
            true => 0,
            false => u32::try_from(unreadable.len()).unwrap_or(u32::MAX),
        };
        if page.limit == 0 {
            return Ok(listed);
        }
    }
}

pub(crate) async fn unreadable(
    session: &Session,
    filter: &Filter,
    page: Page,
) -> Result<Vec<Unreadable>, QueryError> {
    // Without the bodies.
    let columns = COLUMNS.replace("d.body,", "substr(d.body, 1, 0),");
    let mut found = Vec::new();
    let mut part = page;
    part.limit = LOOK_PART;
    loop {
        let rows = list_rows(session, &columns, filter, part).await?;
        let (records, unreadable) = records(&rows);
        part.after = last_id(&records, &unreadable);
        found.extend(unreadable);
        if found.len() >= page.limit as usize || part.after.is_none() {
            found.truncate(page.limit as usize);
            return Ok(found);
        }
    }
}

/// How many records are looked at by one statement.
const LOOK_PART: u32 = 1_000;

fn last_id(records: &[Record], unreadable: &[Unreadable]) -> Option<LetterId> {
    let readable = records.last().map(|record| record.letter.id);
    readable.max(unreadable.last().and_then(|last| last.id))
}

async fn list_rows(
    session: &Session,
    columns: &str,
    filter: &Filter,
    page: Page,
) -> Result<Vec<Row>, QueryError> {
    let wanted = Wanted::new(filter, page.after);
    let statement = format!(
        "SELECT {columns} FROM {TABLE} d
         WHERE ($1::text IS NULL OR d.state = $1) {WANTED}
         ORDER BY d.id
         LIMIT $7"
    );
    let (state, limit) = (filter.state.map(StateKind::as_str), i64::from(page.limit));
    session
        .query(
            &statement,
            &[
                (&state, Type::TEXT),
                (&wanted.after, Type::UUID),
                (&wanted.reason, Type::TEXT),
                (&wanted.tag, Type::TEXT),
                (&wanted.value, Type::TEXT),
                (&wanted.before, Type::UUID),
                (&limit, Type::INT8),
            ],
        )
        .await
}

/// The conditions that claims and lists have in common: parameters 2 to 6.
const WANTED: &str = "AND ($2::uuid IS NULL OR d.id > $2)
    AND ($3::text IS NULL OR d.reason = $3)
    AND ($4::text IS NULL OR d.tags ->> $4 = $5::text)
    AND ($6::uuid IS NULL OR d.id < $6)";

struct Wanted<'a> {
    after: Option<Uuid>,
    reason: Option<&'static str>,
    tag: Option<&'a str>,
    value: Option<&'a str>,
    before: Option<Uuid>,
}

impl<'a> Wanted<'a> {
    fn new(filter: &'a Filter, after: Option<LetterId>) -> Self {
        let tag = filter.tag.as_ref();
        Self {
            after: after.map(uuid),
            reason: filter.reason.map(|reason| reason.as_str()),
            tag: tag.map(|(name, _)| name.as_str()),
            value: tag.map(|(_, value)| value.as_str()),
            before: filter.before.map(LetterId::floor).map(uuid),
        }
    }
}

pub(crate) async fn stats(session: &Session) -> Result<Stats, QueryError> {
    let counts = format!("SELECT reason, state, count(*) FROM {TABLE} GROUP BY reason, state");
    let counts = session.query(&counts, &[]).await?;
    let (mut known, mut unreadable) = (Vec::new(), 0);
    for row in &counts {
        let (reason, state): (Option<&str>, Option<&str>) = (row.try_get(0)?, row.try_get(1)?);
        let count = row.try_get::<_, i64>(2)?.unsigned_abs();
        let reason = reason.and_then(|reason| reason.parse().ok());
        let state = state.and_then(|state| state.parse().ok());
        match (reason, state) {
            (Some(reason), Some(state)) => known.push(Count::new(reason, state, count)),
            _ => unreadable += count,
        }
    }

    let oldest = format!(
        "WITH t AS ({NOW})
         SELECT d.id, (SELECT now FROM t) FROM {TABLE} d WHERE d.state IN ('pending', 'claimed') ORDER BY d.id LIMIT 1"
    );
    let oldest = session
        .query(&oldest, &[(&session.advanced(), Type::INT8)])
        .await?;
    let age = match oldest.first() {
        None => None,
        Some(row) => {
            let (id, now) = (id_of(row.try_get(0)?), time(row.try_get(1)?));
            Some(now.duration_since(id.recorded_at()).unwrap_or_default())
        }
    };
    Ok(Stats::new(known, age).with_unreadable(unreadable))
}

pub(crate) async fn mark(session: &Session, id: LetterId, mark: Mark) -> Result<(), QueryError> {
    let to = match mark {
        Mark::Pending => StateKind::Pending,
        Mark::Discarded => StateKind::Discarded,
        Mark::Expired => StateKind::Expired,
    };
    let statement = format!(
        "WITH t AS ({NOW}), old AS (
             SELECT id, state = 'claimed' AND lease_until > t.now AS held, lease_until FROM {TABLE}, t WHERE id = $2 FOR UPDATE OF {TABLE}
         ), changed AS (
             UPDATE {TABLE} d SET state = $3, status = NULL, lease_until = NULL, changed_at = t.now,
                 replays = CASE WHEN $3 = 'pending' THEN 0 ELSE d.replays END,
                 not_before = CASE WHEN $3 = 'pending' THEN NULL ELSE d.not_before END
             FROM old, t
             WHERE d.id = old.id AND NOT old.held AND (d.state <> $3 OR $3 = 'pending' AND d.not_before > t.now)
         )
         SELECT held, lease_until FROM old"
    );
    let to = to.as_str();
    let (advanced, id) = (session.advanced(), uuid(id));
    let rows = session
        .query(
            &statement,
            &[
                (&advanced, Type::INT8),
                (&id, Type::UUID),
                (&to, Type::TEXT),
            ],
        )
        .await?;
    let row = rows.first().ok_or(StoreError::NotFound)?;
    let (held, until): (bool, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    match (held, until) {
        (true, Some(until)) => Err(StoreError::Claimed { until: time(until) }.into()),
        _ => Ok(()),
    }
}

/// Removes at most [`PURGE_PART`] settled records, so that no statement takes long. Returns how
/// many it removed.
pub(crate) async fn purge(session: &Session, older_than: Duration) -> Result<u64, QueryError> {
    let statement = format!(
        "WITH t AS ({NOW}), old AS (
             SELECT id FROM {TABLE}
             WHERE state NOT IN ('pending', 'claimed') AND state IN ('delivered', 'refused', 'expired', 'discarded')
                 AND changed_at < (SELECT now FROM t)::numeric - $2::int8
             LIMIT {PURGE_PART}
         )
         DELETE FROM {TABLE} d USING old WHERE d.id = old.id AND d.state NOT IN ('pending', 'claimed')
         RETURNING 1"
    );
    let (advanced, older_than) = (session.advanced(), micros(older_than));
    let params: &[Param<'_>] = &[(&advanced, Type::INT8), (&older_than, Type::INT8)];
    Ok(session.query(&statement, params).await?.len() as u64)
}

/// How many records a purge removes in one transaction.
pub(crate) const PURGE_PART: u64 = 10_000;
