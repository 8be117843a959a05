use std::sync::Arc;

use tokio::time::Instant;

/// A call to Redis failed.
#[derive(Clone, Debug)]
pub(crate) struct CallFailure {
    pub(crate) text: Arc<str>,
    pub(crate) retry_at: Instant,
}
