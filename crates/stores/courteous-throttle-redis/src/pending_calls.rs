use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::{sync::Notify, time::Instant};

/// The buckets for which Redis is to be called. A bucket `B` may be of any type.
#[derive(Debug)]
pub(crate) struct PendingCalls<B> {
    state: Mutex<State<B>>,
    pub(crate) filled: Notify,
}

#[derive(Debug)]
struct State<B> {
    buckets: Vec<Weak<B>>,
    /// Since when there have been buckets in the list.
    since: Option<Instant>,
}

impl<B> PendingCalls<B> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                buckets: Vec::new(),
                since: None,
            }),
            filled: Notify::new(),
        }
    }

    fn push(&self, bucket: Weak<B>, now: Instant) {
        let mut state = self.lock();
        state.buckets.push(bucket);
        state.since.get_or_insert(now);
        drop(state);
        self.filled.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<Weak<B>> {
        let mut state = self.lock();
        state.since = None;
        std::mem::take(&mut state.buckets)
    }

    /// Since when buckets have waited for the task to take them.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.lock().since
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How one bucket asks for a call to Redis.
#[derive(Debug)]
pub(crate) struct Asker<B> {
    pending: Arc<PendingCalls<B>>,
    bucket: Weak<B>,
}

impl<B> Asker<B> {
    pub(crate) const fn new(pending: Arc<PendingCalls<B>>, bucket: Weak<B>) -> Self {
        Self { pending, bucket }
    }

    pub(crate) fn ask(&self, now: Instant) {
        self.pending.push(self.bucket.clone(), now);
    }
}
