use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "cluster")]
use crate::cluster::Cluster;
#[cfg(feature = "sentinel")]
use crate::sentinels::Sentinels;
#[cfg(feature = "tls")]
use crate::{InvalidTls, Tls};
use crate::{
    InvalidUrl,
    server::{Server, Topology},
    url,
    worker::Worker,
};

/// A way to Redis, for any number of limits.
///
/// Nothing is connected before a call needs it. Then one background task, on the runtime of that
/// call, calls Redis for all limits of this handle. The task has no name, as stable Tokio has none
/// for tasks. It ends with the last handle. If its runtime is gone, it starts again on another one.
/// The Redis client has a task of its own for each connection.
///
/// # Sharing
///
/// Its clones are the same worker: to Redis, all of them count as one.
#[derive(Clone)]
pub struct Redis {
    pub(crate) worker: Arc<Worker>,
}

impl Redis {
    /// The server at `url`: `redis://[user:password@]host[:port][/database]`, or `rediss://` with
    /// the feature `tls`.
    ///
    /// # Errors
    ///
    /// If there can be no such server. Whether it is there is not asked. By TLS also if rustls has
    /// no process-wide crypto provider yet: the application installs one when it begins, as
    /// `rustls::crypto::ring::default_provider().install_default()` does.
    pub fn open(url: &str) -> Result<Self, InvalidUrl> {
        let client = redis::Client::open(url::read(url)?).map_err(InvalidUrl::new)?;
        Ok(Self::at(Topology::Single(client)))
    }

    /// The cluster that some of its nodes, at `urls`, know.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[cfg(feature = "cluster")]
    pub fn cluster<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, InvalidUrl> {
        let nodes = urls.into_iter().map(|url| url::read(url.as_ref()));
        let nodes = nodes.collect::<Result<_, _>>()?;
        let cluster = Cluster::new(nodes).map_err(InvalidUrl::new)?;
        Ok(Self::at(Topology::Cluster(cluster)))
    }

    /// The primary that Redis Sentinels, at `sentinels`, watch by the name `primary`.
    ///
    /// If it asks for a password, or is not at the database 0, `primary` is a URL with its name for
    /// a host, as `redis://user:password@name/1`; with `rediss://` it is spoken to by TLS, and its
    /// certificate must be for the address that the Sentinels tell. What the Sentinels' own URLs
    /// say holds for them only.
    ///
    /// All Sentinels are asked at once, and one that answers is enough. They are asked only by who
    /// has to connect: those that are connected go on while all of them are away. After a
    /// promotion, a new schedule begins, empty.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[cfg(feature = "sentinel")]
    pub fn sentinel<U: AsRef<str>>(
        sentinels: impl IntoIterator<Item = U>,
        primary: &str,
    ) -> Result<Self, InvalidUrl> {
        let sentinels = sentinels.into_iter().map(|url| url::read(url.as_ref()));
        let sentinels = sentinels.collect::<Result<_, _>>()?;
        // No name has such a character.
        let primary = if primary.contains(':') {
            url::read(primary)?
        } else {
            url::read(&format!("redis://{primary}"))?
        };
        let sentinels = Sentinels::new(sentinels, primary).map_err(InvalidUrl::new)?;
        Ok(Self::at(Topology::Sentinel(sentinels)))
    }

    fn at(topology: Topology) -> Self {
        Self {
            worker: Arc::new(Worker::new(Server::new(topology))),
        }
    }

    /// Waits `connect` for a connection, and `response` for an answer, before Redis counts as away.
    /// The defaults are 1 s and 500 ms. No call of an application's waits for that: it ends at its
    /// own deadline.
    ///
    /// Buckets that there are already stay with the old times.
    #[must_use]
    pub fn with_timeouts(self, connect: Duration, response: Duration) -> Self {
        Self {
            worker: Arc::new(Worker::new(self.worker.server().set(connect, response))),
        }
    }

    /// Trusts, and is known by, the certificates of `tls`, wherever its URLs say `rediss://`.
    ///
    /// Buckets that exist already stay with what was before. So when certificates are replaced,
    /// open another handle, and make other buckets.
    ///
    /// # Errors
    ///
    /// If no URL says so, or the certificates cannot be used. Whether the server's is good shows
    /// when it is called: see [`RedisBucket::last_fault`](crate::RedisBucket::last_fault).
    #[cfg(feature = "tls")]
    pub fn with_tls(self, tls: &Tls) -> Result<Self, InvalidTls> {
        let server = self.worker.server().secured(tls)?;
        Ok(Self {
            worker: Arc::new(Worker::new(server)),
        })
    }

    /// Sets the clock that the script reads forward, by microseconds. For this crate's own tests.
    #[cfg(feature = "test-util")]
    #[doc(hidden)]
    pub fn step_clock(&self, micros: i64) {
        self.worker
            .server()
            .step
            .store(micros, std::sync::atomic::Ordering::Relaxed);
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("server", self.worker.server())
            .finish_non_exhaustive()
    }
}
