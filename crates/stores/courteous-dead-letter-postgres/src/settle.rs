use std::collections::HashMap;

use courteous_dead_letter::{
    LetterId, Settlement, StateKind, StoreError, row::FailureRow, row::without_nul,
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::{
    columns::{status, uuid},
    error::QueryError,
    session::{NOW, Session, TABLE},
};

/// The outcome of one claimed record.
#[derive(Debug)]
pub(crate) struct Settle {
    pub(crate) id: LetterId,
    pub(crate) fence: i64,
    pub(crate) outcome: Settlement,
}

/// Writes the outcomes of claimed records in one statement. The answers are in the order of
/// `settles`. No two outcomes may have the same id.
///
/// `again` says that the statement may have been committed already, with its answer lost. Then a
/// record that has the right fencing number and state counts as settled.
pub(crate) async fn settle(
    session: &Session,
    settles: &[&Settle],
    again: bool,
) -> Result<Vec<Result<(), StoreError>>, QueryError> {
    let columns = Columns::of(settles);
    let statement = format!(
        "WITH t AS ({NOW}), n AS (
             SELECT * FROM unnest($2::uuid[], $3::int8[], $4::text[], $5::int2[], $6::int8[], $7::text[], $8::int8[],
                 $9::text[], $10::bool[], $11::int2[], $12::text[], $13::int8[], $14::int8[])
                 AS n (id, fence, state, status, replays, reason, attempts, history, maybe_sent, last_status, last_error,
                     last_at, not_before)
         )
         UPDATE {TABLE} d SET state = n.state, status = n.status, lease_until = NULL, changed_at = t.now,
             replays = LEAST(d.replays + n.replays, 4294967295),
             reason = COALESCE(n.reason, d.reason),
             attempts = COALESCE(n.attempts, d.attempts),
             history = COALESCE(n.history, d.history),
             maybe_sent = COALESCE(n.maybe_sent, d.maybe_sent),
             last_status = CASE WHEN n.reason IS NULL THEN d.last_status ELSE n.last_status END,
             last_error = CASE WHEN n.reason IS NULL THEN d.last_error ELSE n.last_error END,
             last_at = COALESCE(n.last_at, d.last_at),
             not_before = CASE WHEN n.reason IS NULL THEN d.not_before ELSE n.not_before END
         FROM t, n
         -- The first condition is in the last one, and says that few rows are meant.
         WHERE d.id = ANY ($2) AND d.state = 'claimed' AND d.fence = n.fence AND d.id = n.id
         RETURNING d.id"
    );
    let c = &columns;
    let advanced = session.advanced();
    let rows = session
        .query(
            &statement,
            &[
                (&advanced, Type::INT8),
                (&c.id, Type::UUID_ARRAY),
                (&c.fence, Type::INT8_ARRAY),
                (&c.state, Type::TEXT_ARRAY),
                (&c.status, Type::INT2_ARRAY),
                (&c.replays, Type::INT8_ARRAY),
                (&c.reason, Type::TEXT_ARRAY),
                (&c.attempts, Type::INT8_ARRAY),
                (&c.history, Type::TEXT_ARRAY),
                (&c.maybe_sent, Type::BOOL_ARRAY),
                (&c.last_status, Type::INT2_ARRAY),
                (&c.last_error, Type::TEXT_ARRAY),
                (&c.last_at, Type::INT8_ARRAY),
                (&c.not_before, Type::INT8_ARRAY),
            ],
        )
        .await?;
    let mut left: HashMap<Uuid, usize> = (0..settles.len()).map(|i| (c.id[i], i)).collect();
    for row in &rows {
        left.remove(&row.try_get(0)?);
    }
    let mut answers: Vec<_> = settles.iter().map(|_| Ok(())).collect();
    if left.is_empty() {
        return Ok(answers);
    }
    let found = look(session, left.keys().copied().collect()).await?;
    for (id, i) in left {
        let as_asked = |(fence, state): &(i64, String)| *fence == c.fence[i] && state == c.state[i];
        answers[i] = match found.get(&id) {
            None => Err(StoreError::NotFound),
            Some(found) if again && as_asked(found) => Ok(()),
            Some(_) => Err(StoreError::StaleFence),
        };
    }
    Ok(answers)
}

/// Returns the fencing number and the state of records.
async fn look(
    session: &Session,
    ids: Vec<Uuid>,
) -> Result<HashMap<Uuid, (i64, String)>, QueryError> {
    let statement = format!("SELECT id, fence, state FROM {TABLE} WHERE id = ANY($1)");
    let rows = session
        .query(&statement, &[(&ids, Type::UUID_ARRAY)])
        .await?;
    let mut found = HashMap::new();
    for row in &rows {
        found.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
    }
    Ok(found)
}

#[derive(Default)]
struct Columns {
    id: Vec<Uuid>,
    fence: Vec<i64>,
    state: Vec<&'static str>,
    status: Vec<Option<i16>>,
    /// How much to add.
    replays: Vec<i64>,
    reason: Vec<Option<String>>,
    attempts: Vec<Option<i64>>,
    history: Vec<Option<String>>,
    maybe_sent: Vec<Option<bool>>,
    last_status: Vec<Option<i16>>,
    last_error: Vec<Option<String>>,
    last_at: Vec<Option<i64>>,
    not_before: Vec<Option<i64>>,
}

impl Columns {
    fn of(settles: &[&Settle]) -> Self {
        let mut columns = Self::default();
        for settle in settles {
            columns.add(settle);
        }
        columns
    }

    fn add(&mut self, settle: &Settle) {
        let (state, answered, sent, failure) = match &settle.outcome {
            Settlement::Delivered { status } => (StateKind::Delivered, Some(status), true, None),
            Settlement::Refused { status } => (StateKind::Refused, Some(status), true, None),
            Settlement::Failed(failure) => (StateKind::Pending, None, true, Some(failure)),
            Settlement::Exhausted(failure) => (StateKind::Expired, None, true, Some(failure)),
            Settlement::Expired => (StateKind::Expired, None, false, None),
            Settlement::Released => (StateKind::Pending, None, false, None),
        };
        let failure = failure.map(FailureRow::new);
        let failure = failure.as_ref();
        self.id.push(uuid(settle.id));
        self.fence.push(settle.fence);
        self.state.push(state.as_str());
        self.status
            .push(answered.map(|answered| status(answered.as_u16())));
        self.replays.push(sent.into());
        self.reason.push(failure.map(|row| row.reason.clone()));
        self.attempts.push(failure.map(|row| row.attempts.into()));
        self.history.push(failure.map(|row| row.history.clone()));
        self.maybe_sent.push(failure.map(|row| row.maybe_sent));
        self.last_status
            .push(failure.and_then(|row| row.last_status.map(status)));
        self.last_error
            .push(failure.and_then(|row| row.last_error.clone().map(without_nul)));
        self.last_at.push(failure.map(|row| row.last_at));
        self.not_before.push(failure.and_then(|row| row.not_before));
    }
}
