//! The operations of a [`LetterStore`](courteous_dead_letter::LetterStore) in SQL. If there are two
//! `Result`s, the outer one is the database's, the inner one the store's.

use std::{str::FromStr, time::SystemTime};

use courteous_dead_letter::{
    Claim, Claimed, Count, Filter, LetterId, Mark, Page, Record, Settlement, StateKind, Stats,
    StoreError, Unreadable,
    row::later,
    row::{FailureRow, Row, micros, time},
};
use rusqlite::{Connection, OptionalExtension, Params, params, params_from_iter, types::Value};

use crate::columns::{self, COLUMNS};

pub(crate) fn claim(
    connection: &Connection,
    claim: &Claim,
    now: SystemTime,
) -> rusqlite::Result<Claimed> {
    let mut conditions = Conditions::new();
    conditions.and("due_at <= ?", micros(now));
    if let Some(id) = claim.id {
        conditions.and("id = ?", columns::id(id).to_vec());
    }
    conditions.and_after(claim.after);
    conditions.and_filter(&claim.filter);
    let sql = format!(
        "SELECT {COLUMNS} FROM letters INDEXED BY letters_open LEFT JOIN requests USING (seq)
         WHERE state IN ('pending', 'claimed') {} ORDER BY id",
        conditions.sql
    );
    let (now, until) = (micros(now), micros(later(now, claim.lease)));
    let as_claimed = |mut row: Row| {
        row.state = StateKind::Claimed.as_str().to_owned();
        // If the fencing number overflows, the record is unreadable.
        row.fence = row.fence.wrapping_add(1);
        row.lease_until = Some(until);
        row.changed_at = now;
        row.into_record()
    };
    let parameters = params_from_iter(conditions.values);
    let claimed = records(connection, &sql, parameters, claim.max, as_claimed)?;
    let mut update = connection.prepare(
        "UPDATE letters SET state = 'claimed', fence = fence + 1, lease_until = ?, changed_at = ?
         WHERE id = ?",
    )?;
    for record in &claimed.records {
        update.execute(params![until, now, columns::id(record.letter.id)])?;
    }
    Ok(claimed)
}

pub(crate) fn settle(
    connection: &Connection,
    id: LetterId,
    fence: u64,
    outcome: &Settlement,
    now: SystemTime,
) -> rusqlite::Result<Result<(), StoreError>> {
    let id = columns::id(id);
    let found = connection
        .query_row(
            "SELECT state = 'claimed', fence FROM letters WHERE id = ?",
            [id],
            |row| Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?)),
        )
        .optional()?;
    match found {
        None => return Ok(Err(StoreError::NotFound)),
        Some((true, own)) if u64::try_from(own) == Ok(fence) => {}
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

pub(crate) fn get(
    connection: &Connection,
    id: LetterId,
) -> rusqlite::Result<Result<Option<Record>, StoreError>> {
    let sql = format!("SELECT {COLUMNS} FROM letters LEFT JOIN requests USING (seq) WHERE id = ?");
    let found = connection
        .query_row(&sql, [columns::id(id)], |row| Ok(columns::read(row)))
        .optional()?;
    let record = found.map(|row| row.and_then(Row::into_record)).transpose();
    Ok(record.map_err(StoreError::from))
}

pub(crate) fn list(
    connection: &Connection,
    filter: &Filter,
    page: Page,
) -> rusqlite::Result<Vec<Record>> {
    let (sql, conditions) = select(COLUMNS, filter, page);
    let parameters = params_from_iter(conditions.values);
    let found = records(connection, &sql, parameters, page.limit, Row::into_record)?;
    Ok(found.records)
}

/// How many rows one search for unreadable rows looks at. Pushes go on in between.
const LOOK_PART: u32 = 1_000;

/// Finds the unreadable rows among the first rows of `page`. Also returns the id after which to go
/// on, if there may be more.
pub(crate) fn unreadable(
    connection: &Connection,
    filter: &Filter,
    page: Page,
) -> rusqlite::Result<(Vec<Unreadable>, Option<LetterId>)> {
    let mut found = Vec::new();
    if page.after.is_none() {
        let (sql, conditions) = select("id", filter, page);
        let sql = format!("SELECT count(*) FROM ({sql}) WHERE length(id) <> 16");
        let parameters = params_from_iter(conditions.values);
        let without_id = connection.query_row(&sql, parameters, |row| row.get::<_, u32>(0))?;
        found.resize(without_id as usize, Unreadable::new(None, "id"));
    }
    let most = found.len().saturating_add(page.limit as usize);
    let (sql, conditions) = select(columns::BUT_BODY, filter, page);
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(conditions.values))?;
    let mut looked = 0;
    while found.len() < most {
        let Some(row) = rows.next()? else { break };
        let id = match columns::read(row).and_then(Row::into_record) {
            Ok(record) => record.letter.id,
            Err(Unreadable { id: None, .. }) => continue,
            Err(unreadable @ Unreadable { id: Some(id), .. }) => {
                found.push(unreadable);
                id
            }
        };
        looked += 1;
        if looked >= LOOK_PART {
            return Ok((found, Some(id)));
        }
    }
    Ok((found, None))
}

/// Makes the statement for the letters that pass `filter`, after the start of the page and in the
/// order of ids.
fn select(columns: &str, filter: &Filter, page: Page) -> (String, Conditions) {
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
    let sql = format!(
        "SELECT {columns} FROM letters INDEXED BY {index} LEFT JOIN requests USING (seq)
         WHERE true {} ORDER BY id",
        conditions.sql
    );
    (sql, conditions)
}

pub(crate) fn stats(connection: &Connection, now: SystemTime) -> rusqlite::Result<Stats> {
    let mut statement = connection
        .prepare("SELECT reason, state, count(*) FROM letters INDEXED BY letters_by_state GROUP BY state, reason")?;
    let mut rows = statement.query(())?;
    let (mut counts, mut unreadable) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let count = row.get::<_, i64>(2)?.unsigned_abs();
        match (word(row, 0)?, word(row, 1)?) {
            (Some(reason), Some(state)) => counts.push(Count::new(reason, state, count)),
            _ => unreadable += count,
        }
    }
    let oldest = connection
        .query_row(
            "SELECT id FROM letters INDEXED BY letters_open
             WHERE state IN ('pending', 'claimed') AND length(id) = 16 ORDER BY id LIMIT 1",
            (),
            |row| row.get(0),
        )
        .optional()?;
    let age = oldest.map(|id| {
        let id = LetterId::from_bits(u128::from_be_bytes(id));
        now.duration_since(id.recorded_at()).unwrap_or_default()
    });
    Ok(Stats::new(counts, age).with_unreadable(unreadable))
}

/// Reads a column as a word that this version knows.
fn word<T: FromStr>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let text = row.get_ref(column)?.as_str();
    Ok(text.ok().and_then(|text| text.parse().ok()))
}

pub(crate) fn mark(
    connection: &Connection,
    id: LetterId,
    mark: Mark,
    now: SystemTime,
) -> rusqlite::Result<Result<(), StoreError>> {
    let id = columns::id(id);
    let to = match mark {
        Mark::Pending => StateKind::Pending,
        Mark::Discarded => StateKind::Discarded,
        Mark::Expired => StateKind::Expired,
    };
    let found = connection
        .query_row(
            "SELECT state = ?, lease_until, due_at FROM letters WHERE id = ?",
            params![to.as_str(), id],
            |row| {
                Ok((
                    row.get::<_, bool>(0)?,
                    row.get::<_, Option<i64>>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            },
        )
        .optional()?;
    let now = micros(now);
    match found {
        None => return Ok(Err(StoreError::NotFound)),
        Some((_, Some(until), _)) if until > now => {
            return Ok(Err(StoreError::Claimed { until: time(until) }));
        }
        Some((is_it, _, due_at)) if is_it && (mark != Mark::Pending || due_at <= now) => {
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

/// How many records a purge removes in one transaction. Pushes go on in between.
pub(crate) const PURGE_BATCH: usize = 500;

/// Removes at most `most` of the records that were settled before `cutoff`. Returns how many it
/// removed.
pub(crate) fn purge(
    connection: &Connection,
    cutoff: SystemTime,
    most: usize,
) -> rusqlite::Result<usize> {
    const SETTLED: &str = "SELECT seq FROM letters INDEXED BY letters_final
        WHERE state NOT IN ('pending', 'claimed') AND state IN ('delivered', 'refused', 'expired', 'discarded')
            AND changed_at < ? ORDER BY changed_at, seq LIMIT ?";
    let parameters = (micros(cutoff), most as i64);
    connection.execute(
        &format!("DELETE FROM requests WHERE seq IN ({SETTLED})"),
        parameters,
    )?;
    let removed = connection.execute(
        &format!("DELETE FROM letters WHERE seq IN ({SETTLED})"),
        parameters,
    )?;
    // This gives the removed records' pages back to the disk.
    connection.pragma(None, "incremental_vacuum", 0, |_| Ok(()))?;
    Ok(removed)
}

/// Runs a `SELECT` of the [`COLUMNS`]. Returns the first `max` readable records, and the unreadable
/// records before them.
fn records(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    max: u32,
    record: impl Fn(Row) -> Result<Record, Unreadable>,
) -> rusqlite::Result<Claimed> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Claimed::default();
    while found.records.len() < max as usize {
        let Some(row) = rows.next()? else { break };
        match columns::read(row).and_then(&record) {
            Ok(record) => found.records.push(record),
            Err(unreadable) => found.unreadable.push(unreadable),
        }
    }
    Ok(found)
}

/// The further conditions of a `WHERE`, and their parameters.
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

    /// Adds all conditions of `filter` except the state.
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
