use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use courteous_core::Dice;
use rand::RngExt;
use tokio::{
    runtime::{self, Handle},
    task::AbortHandle,
    time::Instant,
};

use crate::{
    calls::DEAF,
    connection::Connection,
    inbox::Inbox,
    target::{Place, Target},
    task,
};

/// What the buckets of one process share: a way to Redis, and one background task that calls it.
#[derive(Debug)]
pub(crate) struct Link {
    inbox: Arc<Inbox>,
    target: Arc<Target>,
    worker: u64,
    task: Mutex<Option<Task>>,
}

#[derive(Debug)]
struct Task {
    abort: AbortHandle,
    runtime: runtime::Id,
}

impl Link {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            inbox: Arc::default(),
            target: Arc::new(target),
            worker: Dice::new().roll(|rng| rng.random()),
            task: Mutex::new(None),
        }
    }

    pub(crate) const fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(crate) const fn worker(&self) -> u64 {
        self.worker
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Sees to it that the task runs, on the current runtime if there is none; or if it has not looked for long, as nobody
    /// drives its runtime.
    pub(crate) fn ensure_task(&self) {
        let (Some(since), Ok(runtime)) = (self.inbox.waiting_since(), Handle::try_current()) else {
            return;
        };
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            let deaf = task.runtime != runtime.id() && since + DEAF <= Instant::now();
            if !task.abort.is_finished() && !deaf {
                return;
            }
            task.abort.abort();
        }
        // Its connection is a new one: the old one may have gone with its runtime.
        let connection = Connection::new(Arc::clone(&self.target));
        let abort = runtime
            .spawn(task::run(Arc::clone(&self.inbox), Arc::new(connection)))
            .abort_handle();
        *task = Some(Task {
            abort,
            runtime: runtime.id(),
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

/// A way to Redis, for any number of limits.
///
/// Nothing is connected before a call needs it. Then one background task, on the runtime of that call, talks to Redis for
/// all limits of this link (without a name, as tasks have none in stable Tokio); it ends with the last handle, and is begun anew on another runtime if its own is gone. The
/// Redis client has a task of its own for each connection.
///
/// # Sharing
///
/// Its clones are the same link. To Redis, a link is one worker.
#[derive(Clone)]
pub struct Redis {
    pub(crate) link: Arc<Link>,
}

impl Redis {
    /// The server at `url`: `redis://[user:password@]host[:port][/database]`, or `rediss://` with the feature `tls`.
    ///
    /// # Errors
    ///
    /// If there can be no such server. Whether it is there is not asked.
    pub fn open(url: &str) -> Result<Self, InvalidUrl> {
        let client = redis::Client::open(url).map_err(InvalidUrl::new)?;
        Ok(Self::at(Place::Single(client)))
    }

    /// The cluster that some of its nodes, at `urls`, know.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[cfg(feature = "cluster")]
    pub fn cluster<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, InvalidUrl> {
        let urls = urls.into_iter().map(|url| url.as_ref().to_owned());
        // Each retry is a call that was not made in time; a redirection is one too.
        let client = redis::cluster::ClusterClientBuilder::new(urls)
            .retries(3)
            .min_retry_wait(10)
            .max_retry_wait(50)
            .build()
            .map_err(InvalidUrl::new)?;
        Ok(Self::at(Place::Cluster(client)))
    }

    /// The master that Redis Sentinels, at `urls`, call `master`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[cfg(feature = "sentinel")]
    pub fn sentinel<U: AsRef<str>>(
        urls: impl IntoIterator<Item = U>,
        master: &str,
    ) -> Result<Self, InvalidUrl> {
        use redis::sentinel::{SentinelClient, SentinelServerType};
        let urls = urls
            .into_iter()
            .map(|url| url.as_ref().to_owned())
            .collect();
        let client =
            SentinelClient::build(urls, String::from(master), None, SentinelServerType::Master)
                .map_err(InvalidUrl::new)?;
        Ok(Self::at(Place::Sentinel(Arc::new(
            tokio::sync::Mutex::new(client),
        ))))
    }

    fn at(place: Place) -> Self {
        Self {
            link: Arc::new(Link::new(Target::new(place))),
        }
    }

    /// Waits `connect` for a connection, and `response` for an answer, before Redis counts as away. The defaults are 1 s
    /// and 500 ms. No call of an application's waits for that: it ends at its own deadline.
    ///
    /// Buckets that there are already stay with the old times.
    #[must_use]
    pub fn with_timeouts(self, connect: Duration, response: Duration) -> Self {
        Self {
            link: Arc::new(Link::new(self.link.target().set(connect, response))),
        }
    }

    /// Tests only: sets the clock that the script reads forward, by microseconds.
    #[doc(hidden)]
    pub fn step_clock(&self, micros: i64) {
        self.link
            .target()
            .step
            .store(micros, std::sync::atomic::Ordering::Relaxed);
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("target", self.link.target())
            .finish_non_exhaustive()
    }
}

/// A URL at which there can be no Redis.
#[derive(Debug)]
pub struct InvalidUrl {
    kind: redis::ErrorKind,
}

impl InvalidUrl {
    // The error itself may tell the password.
    fn new(error: redis::RedisError) -> Self {
        Self { kind: error.kind() }
    }
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid Redis URL: {:?}", self.kind)
    }
}

impl std::error::Error for InvalidUrl {}
