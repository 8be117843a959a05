use std::time::Duration;

use courteous_dead_letter::Clock;
use tokio::time::timeout;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use crate::error::{PostgresError, QueryError};

pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// The name of the table.
pub(crate) const TABLE: &str = "courteous_dead_letter";

/// The database's time in microseconds since 1970, plus the parameter, which is zero except in
/// tests.
pub(crate) const NOW: &str = "SELECT LEAST(extract(epoch FROM clock_timestamp()) * 1000000 + $1::int8::numeric, 9223372036854775807)::int8 AS now";

/// A connection that bounds the time of every statement. No statement is prepared by name, so a
/// pooler in between causes no trouble.
pub(crate) struct Session {
    client: Client,
    patience: Duration,
    clock: Clock,
}

impl Session {
    pub(crate) const fn new(client: Client, patience: Duration, clock: Clock) -> Self {
        Self {
            client,
            patience,
            clock,
        }
    }

    pub(crate) async fn query(
        &self,
        statement: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, QueryError> {
        let answer = self.client.query_typed(statement, params);
        match timeout(self.patience, answer).await {
            Ok(rows) => Ok(rows?),
            Err(_) => Err(QueryError::Away(PostgresError::silent())),
        }
    }

    /// Runs several statements without parameters.
    pub(crate) async fn batch(&self, statements: &str) -> Result<(), QueryError> {
        match timeout(self.patience, self.client.batch_execute(statements)).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(QueryError::Away(PostgresError::silent())),
        }
    }

    /// The parameter for [`NOW`].
    pub(crate) fn advanced(&self) -> i64 {
        micros(self.clock.advanced())
    }
}

/// Converts a duration to microseconds, at most `i64::MAX`.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
