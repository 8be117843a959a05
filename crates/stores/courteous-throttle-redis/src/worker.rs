use std::{
    process,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    runtime::{self, Handle},
    task::AbortHandle,
    time::Instant,
};

use crate::{calls::DEAF, connection::Connection, pending_calls::Inbox, server::Target, task};

/// What the buckets of one process share: a way to Redis, and one background task that calls it.
#[derive(Debug)]
pub(crate) struct Link {
    inbox: Arc<Inbox>,
    target: Arc<Target>,
    task: Mutex<Option<Task>>,
}

#[derive(Debug)]
struct Task {
    abort: AbortHandle,
    runtime: runtime::Id,
    /// Of another process it is a copy that `fork` has made, whose connection is the other one's.
    process: u32,
}

impl Link {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            inbox: Arc::default(),
            target: Arc::new(target),
            task: Mutex::new(None),
        }
    }

    pub(crate) const fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Starts the task on the current runtime if this process has none. Also replaces a task that has not looked for long, as
    /// its runtime is not driven.
    pub(crate) fn ensure_task(&self) {
        let (Some(since), Ok(runtime)) = (self.inbox.waiting_since(), Handle::try_current()) else {
            return;
        };
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            let deaf = task.runtime != runtime.id() && since + DEAF <= Instant::now();
            if task.process == process::id() {
                if !task.abort.is_finished() && !deaf {
                    return;
                }
                task.abort.abort();
            }
        }
        // Its connection is a new one: the old one may have gone with its runtime.
        let connection = Connection::new(Arc::clone(&self.target));
        let abort = runtime
            .spawn(task::run(Arc::clone(&self.inbox), Arc::new(connection)))
            .abort_handle();
        *task = Some(Task {
            abort,
            runtime: runtime.id(),
            process: process::id(),
        });
    }
}

impl Drop for Link {
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
