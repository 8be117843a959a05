use std::{
    process,
    sync::{Arc, Mutex, PoisonError},
};

use courteous_limit::Shared;
use tokio::{
    runtime::{self, Handle},
    task::AbortHandle,
    time::Instant,
};

use crate::{
    bucket_state::{BucketState, STALLED_AFTER},
    connection::Connection,
    pending_calls::PendingCalls,
    server::Server,
    task,
};

/// The state that the buckets of one process share: a way to Redis, and one background task that
/// calls it.
#[derive(Debug)]
pub(crate) struct Worker {
    pending: Arc<PendingCalls<Shared<BucketState>>>,
    server: Arc<Server>,
    task: Mutex<Option<Task>>,
}

#[derive(Debug)]
struct Task {
    abort: AbortHandle,
    runtime: runtime::Id,
    /// The process that started the task. In a forked process this is a copy, and its connection
    /// belongs to the other process.
    process: u32,
}

impl Worker {
    pub(crate) fn new(server: Server) -> Self {
        Self {
            pending: Arc::new(PendingCalls::new()),
            server: Arc::new(server),
            task: Mutex::new(None),
        }
    }

    pub(crate) const fn pending(&self) -> &Arc<PendingCalls<Shared<BucketState>>> {
        &self.pending
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Starts the task on the current runtime if this process has none. Also replaces a task that
    /// has not taken buckets for long, as its runtime is not driven.
    pub(crate) fn ensure_task(&self) {
        let (Some(since), Ok(runtime)) = (self.pending.waiting_since(), Handle::try_current())
        else {
            return;
        };
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            let stalled = task.runtime != runtime.id() && since + STALLED_AFTER <= Instant::now();
            if task.process == process::id() {
                if !task.abort.is_finished() && !stalled {
                    return;
                }
                task.abort.abort();
            }
        }
        // The task gets a new connection, as the old one may have gone with its runtime.
        let connection = Connection::new(Arc::clone(&self.server));
        let abort = runtime
            .spawn(task::run(Arc::clone(&self.pending), Arc::new(connection)))
            .abort_handle();
        *task = Some(Task {
            abort,
            runtime: runtime.id(),
            process: process::id(),
        });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(task) = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            task.abort.abort();
        }
    }
}
