use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "cluster")]
use crate::cluster::Cluster;
#[cfg(feature = "sentinel")]
use crate::sentinels::Sentinels;
#[cfg(feature = "tls")]
use crate::{InvalidTls, Tls};
use crate::{
    InvalidUrl,
    server::Server,
    topology::{Single, Topology},
    url,
    worker::Worker,
};

/// A way to Redis, for any number of limits.
///
/// It does not connect before a call needs Redis. Then one background task, on the runtime of that
/// call, calls Redis for all limits of this handle. The task has no name, as stable Tokio has no
/// names for tasks. It ends with the last handle. If its runtime is gone, it starts again on
/// another runtime. The Redis client also has its own task for each connection.
///
/// # Sharing
///
/// Its clones are the same worker: Redis counts all of them as one.
#[derive(Clone)]
pub struct Redis {
    pub(crate) worker: Arc<Worker>,
}

impl Redis {
    /// Opens the server at `url`: `redis://[user:password@]host[:port][/database]`, or `rediss://`
    /// with the feature `tls`.
    ///
    /// # Errors
    ///
    /// Fails if there can be no such server. It does not check that the server is there. With TLS,
    /// it also fails if rustls has no process-wide crypto provider yet. The application installs a
    /// provider when it begins, for example with
    /// `rustls::crypto::ring::default_provider().install_default()`.
    pub fn open(url: &str) -> Result<Self, InvalidUrl> {
        let client = redis::Client::open(url::read(url)?).map_err(InvalidUrl::new)?;
        Ok(Self::at(Single(client)))
    }

    /// Opens a cluster. `urls` are those of some of its nodes, which know the others.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[cfg(feature = "cluster")]
    pub fn cluster<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, InvalidUrl> {
        let nodes = urls.into_iter().map(|url| url::read(url.as_ref()));
        let nodes = nodes.collect::<Result<_, _>>()?;
        let cluster = Cluster::new(nodes).map_err(InvalidUrl::new)?;
        Ok(Self::at(cluster))
    }

    /// Opens the primary that the Redis Sentinels at `sentinels` watch by the name `primary`.
    ///
    /// For a password, or a database other than 0, `primary` is a URL with the primary's name as
    /// the host, such as `redis://user:password@name/1`. With `rediss://` the primary is called by
    /// TLS, and its certificate must be for the address that the Sentinels announce. The settings
    /// in the Sentinels' own URLs hold only for the Sentinels.
    ///
    /// All Sentinels are asked at once, and one that answers is enough. A worker asks them only
    /// when it has to connect: a connected worker goes on while all Sentinels are away. After a
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
        // No name contains a colon.
        let primary = if primary.contains(':') {
            url::read(primary)?
        } else {
            url::read(&format!("redis://{primary}"))?
        };
        let sentinels = Sentinels::new(sentinels, primary).map_err(InvalidUrl::new)?;
        Ok(Self::at(sentinels))
    }

    fn at(topology: impl Topology + 'static) -> Self {
        Self {
            worker: Arc::new(Worker::new(Server::new(topology))),
        }
    }

    /// Waits `connect` for a connection, and `response` for an answer, before Redis counts as away.
    /// The defaults are 1 s and 500 ms. These times do not prolong an application's call: it ends
    /// at its own deadline.
    ///
    /// Existing buckets keep the old times.
    #[must_use]
    pub fn with_timeouts(self, connect: Duration, response: Duration) -> Self {
        Self {
            worker: Arc::new(Worker::new(
                self.worker.server().with_timeouts(connect, response),
            )),
        }
    }

    /// Uses the certificates of `tls` for all URLs that begin with `rediss://`: trusts its
    /// authorities, and shows its client certificate.
    ///
    /// Existing buckets keep the old certificates. So when certificates are replaced, open another
    /// handle, and make other buckets.
    ///
    /// # Errors
    ///
    /// Fails if no URL begins with `rediss://`, or the certificates cannot be used. The server's
    /// certificate is checked only when the server is called: see
    /// [`RedisBucket::last_error`](crate::RedisBucket::last_error).
    #[cfg(feature = "tls")]
    pub fn with_tls(self, tls: &Tls) -> Result<Self, InvalidTls> {
        let server = self.worker.server().secured(tls)?;
        Ok(Self {
            worker: Arc::new(Worker::new(server)),
        })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("server", self.worker.server())
            .finish_non_exhaustive()
    }
}
