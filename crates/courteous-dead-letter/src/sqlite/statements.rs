//! What the [`Store`](crate::Store) does, in SQL. The outer `Result` is the database's, the inner one the store's.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Params, params, params_from_iter, types::Value};

use super::columns::{self, COLUMNS};
use crate::{
    Claim, Count, Filter, LetterId, Mark, Page, Record, Settlement, StateKind, Stats, StoreError,
    clock::later,
    row::{FailureRow, micros, time},
};

pub(super) fn claim(
    connection: &Connection,
    claim: &Claim,
    now: SystemTime,
) -> rusqlite::Result<Result<Vec<Record>, StoreError>> {
    let mut conditions = Conditions::new();
    conditions.and("due_at <= ?", micros(now));
    if let Some(id) = claim.id {
        conditions.and("id = ?", columns::id(id).to_vec());
    }
    conditions.and_after(claim.after);
    conditions.and_filter(&claim.filter);
    conditions.values.push(claim.max.into());
    let sql = format!(
        "SELECT {COLUMNS} FROM letters INDEXED BY letters_open CROSS JOIN requests USING (seq)
         WHERE state IN ('pending', 'claimed') {} ORDER BY id LIMIT ?",
        conditions.sql
    );
    let rows = connection
        .prepare(&sql)?
        .query_map(params_from_iter(conditions.values), columns::read)?
        .collect::<rusqlite::Result<Vec<_>>>()?;

    // Nothing is claimed if one of them cannot be read.
    let (now, until) = (micros(now), micros(later(now, claim.lease)));
    let mut records = Vec::with_capacity(rows.len());
    for mut row in rows {
        row.state = StateKind::Claimed.as_str().to_owned();
        row.fence += 1;
        row.lease_until = Some(until);
        row.changed_at = now;
        match row.into_record() {
            Ok(record) => records.push(record),
            Err(error) => return Ok(Err(error)),
        }
    }
    let mut update = connection.prepare(
        "UPDATE letters SET state = 'claimed', fence = fence + 1, lease_until = ?, changed_at = ?
         WHERE id = ?",
    )?;
    for record in &records {
        update.execute(params![until, now, columns::id(record.letter.id)])?;
    }
    Ok(Ok(records))
}

pub(super) fn settle(
    connection: &Connection,
    id: LetterId,
    fence: u64,
    outcome: &Settlement,
    now: SystemTime,
) -> rusqlite::Result<Result<(), StoreError>> {
    let id = columns::id(id);
    let found = connection
        .query_row(
            "SELECT state, fence FROM letters WHERE id = ?",
            [id],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)),
        )
        .optional()?;
    match found {
        None => return Ok(Err(StoreError::NotFound)),
        Some((state, own))
            if state == StateKind::Claimed.as_str() && u64::try_from(own) == Ok(fence) => {}
        Some(_) => return Ok(Err(StoreError::StaleFence)),
    }
    let (state, status, failure) = match outcome {
        Settlement::Delivered { status } => (StateKind::Delivered, Some(status.as_u16()), None),
        Settlement::Refused { status } => (StateKind::Refused, Some(status.as_u16()), None),
        Settlement::Failed(failure) => (StateKind::Pending, None, Some(failure)),
        Settlement::Exhausted(failure) => (StateKind::Expired, None, Some(failure)),
        Settlement::Expired => (StateKind::Expired, None, None),
        Settlement::Released => (StateKind::Pending, None, None),
    };
    let sent = !matches!(outcome, Settlement::Expired | Settlement::Released);
    if let Some(failure) = failure {
        columns::update_failure(connection, id, &FailureRow::new(failure))?;
    }
    connection.execute(
        "UPDATE letters SET state = ?, status = ?, lease_until = NULL, replays = min(replays + ?, 4294967295),
             changed_at = ?
         WHERE id = ?",
        params![state.as_str(), status, sent, micros(now), id],
    )?;
    Ok(Ok(()))
}

pub(super) fn get(
    connection: &Connection,
    id: LetterId,
) -> rusqlite::Result<Result<Option<Record>, StoreError>> {
    let sql = format!("SELECT {COLUMNS} FROM letters CROSS JOIN requests USING (seq) WHERE id = ?");
    let records = records(connection, &sql, [columns::id(id)])?;
    Ok(records.map(|records| records.into_iter().next()))
}

pub(super) fn list(
    connection: &Connection,
    filter: &Filter,
    page: Page,
) -> rusqlite::Result<Result<Vec<Record>, StoreError>> {
    let mut conditions = Conditions::new();
    let index = match filter.state {
        Some(state) => {
            conditions.and("state = ?", state.as_str().to_owned());
            "letters_by_state"
        }
        None => "letters_by_id",
    };
    conditions.and_after(page.after);
    conditions.and_filter(filter);
    conditions.values.push(page.limit.into());
    let sql = format!(
        "SELECT {COLUMNS} FROM letters INDEXED BY {index} CROSS JOIN requests USING (seq)
         WHERE true {} ORDER BY id LIMIT ?",
        conditions.sql
    );
    records(connection, &sql, params_from_iter(conditions.values))
}

pub(super) fn stats(
    connection: &Connection,
    now: SystemTime,
) -> rusqlite::Result<Result<Stats, StoreError>> {
    let counts = connection
        .prepare("SELECT reason, state, count(*) FROM letters INDEXED BY letters_by_state GROUP BY state, reason")?
        .query_map((), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let oldest = connection
        .query_row(
            "SELECT id FROM letters INDEXED BY letters_open WHERE state IN ('pending', 'claimed') ORDER BY id LIMIT 1",
            (),
            |row| row.get(0),
        )
        .optional()?;
    let age = oldest.map(|id| {
        let id = LetterId::from_bits(u128::from_be_bytes(id));
        now.duration_since(id.recorded_at()).unwrap_or_default()
    });
    let count = |(reason, state, count): (String, String, i64)| {
        let corrupt = |column| move |_| StoreError::Corrupt { column, id: None };
        Ok(Count::new(
            reason.parse().map_err(corrupt("reason"))?,
            state.parse().map_err(corrupt("state"))?,
            count.unsigned_abs(),
        ))
    };
    let counts: Result<Vec<_>, _> = counts.into_iter().map(count).collect();
    Ok(counts.map(|counts| Stats::new(counts, age)))
}

pub(super) fn mark(
    connection: &Connection,
    id: LetterId,
    mark: Mark,
    now: SystemTime,
) -> rusqlite::Result<Result<(), StoreError>> {
    let id = columns::id(id);
    let found = connection
        .query_row(
            "SELECT state, lease_until, due_at FROM letters WHERE id = ?",
            [id],
            |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, Option<i64>>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            },
        )
        .optional()?;
    let now = micros(now);
    let to = match mark {
        Mark::Pending => StateKind::Pending,
        Mark::Discarded => StateKind::Discarded,
        Mark::Expired => StateKind::Expired,
    };
    match found {
        None => return Ok(Err(StoreError::NotFound)),
        Some((_, Some(until), _)) if until > now => {
            return Ok(Err(StoreError::Claimed { until: time(until) }));
        }
        Some((state, _, due_at))
            if state == to.as_str() && (mark != Mark::Pending || due_at <= now) =>
        {
            return Ok(Ok(()));
        }
        Some(_) => {}
    }
    connection.execute(
        "UPDATE letters SET state = ?1, status = NULL, lease_until = NULL, changed_at = ?2,
             replays = iif(?3, 0, replays), not_before = iif(?3, NULL, not_before)
         WHERE id = ?4",
        params![to.as_str(), now, mark == Mark::Pending, id],
    )?;
    Ok(Ok(()))
}

/// How many records a purge removes in one transaction: pushes go on between them.
pub(super) const PURGE_BATCH: usize = 500;

/// Removes at most [`PURGE_BATCH`] of the records that have been what they are since before `cutoff`, and returns how many.
pub(super) fn purge(connection: &Connection, cutoff: SystemTime) -> rusqlite::Result<usize> {
    const SETTLED: &str = "SELECT seq FROM letters INDEXED BY letters_final
        WHERE state NOT IN ('pending', 'claimed') AND changed_at < ? ORDER BY changed_at, seq LIMIT ?";
    let parameters = (micros(cutoff), PURGE_BATCH as i64);
    connection.execute(
        &format!("DELETE FROM requests WHERE seq IN ({SETTLED})"),
        parameters,
    )?;
    let removed = connection.execute(
        &format!("DELETE FROM letters WHERE seq IN ({SETTLED})"),
        parameters,
    )?;
    // Gives their pages back to the disk.
    connection.pragma(None, "incremental_vacuum", 0, |_| Ok(()))?;
    Ok(removed)
}

/// `SELECT` of the [`COLUMNS`], as records.
fn records(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
) -> rusqlite::Result<Result<Vec<Record>, StoreError>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        match columns::read(row)?.into_record() {
            Ok(record) => records.push(record),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(records))
}

/// What comes after the first condition of a `WHERE`, and its parameters.
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    const fn new() -> Self {
        Self {
            sql: String::new(),
            values: Vec::new(),
        }
    }

    fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(value.into());
    }

    fn and_after(&mut self, id: Option<LetterId>) {
        if let Some(id) = id {
            self.and("id > ?", columns::id(id).to_vec());
        }
    }

    /// All of it but the state.
    fn and_filter(&mut self, filter: &Filter) {
        if let Some(before) = filter.before {
            self.and("id < ?", columns::id(LetterId::floor(before)).to_vec());
        }
        if let Some(reason) = filter.reason {
            self.and("reason = ?", reason.as_str().to_owned());
        }
        if let Some((name, value)) = &filter.tag {
            self.and(
                "EXISTS (SELECT 1 FROM json_each(tags) WHERE key = ?",
                name.clone(),
            );
            self.and("value = ?)", value.clone());
        }
    }
}
