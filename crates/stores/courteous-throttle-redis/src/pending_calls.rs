use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use courteous_queue::Shared;
use tokio::{sync::Notify, time::Instant};

use crate::core::Core;

/// The buckets for which Redis is to be called.
#[derive(Debug, Default)]
pub(crate) struct PendingCalls {
    state: Mutex<State>,
    pub(crate) filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    buckets: Vec<Weak<Shared<Core>>>,
    /// Since when there have been some.
    since: Option<Instant>,
}

impl PendingCalls {
    pub(crate) fn push(&self, bucket: Weak<Shared<Core>>, now: Instant) {
        let mut state = self.lock();
        state.buckets.push(bucket);
        state.since.get_or_insert(now);
        drop(state);
        self.filled.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<Weak<Shared<Core>>> {
        let mut state = self.lock();
        state.since = None;
        std::mem::take(&mut state.buckets)
    }

    /// Since when nobody has looked.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.lock().since
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
