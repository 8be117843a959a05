use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, Script, ServerErrorKind,
    aio::{ConnectionLike, MultiplexedConnection},
};

use crate::{
    keys::Keys,
    script::{Call, SOURCE},
};

/// The place of Redis, and how long to wait for it.
pub(crate) struct Server {
    topology: Topology,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    /// Tests only: how much Redis' clock is set forward, in microseconds.
    pub(crate) step: AtomicI64,
}

#[derive(Clone)]
#[cfg_attr(
    any(feature = "cluster", feature = "sentinel", test),
    allow(clippy::large_enum_variant, reason = "there is one of them")
)]
pub(crate) enum Topology {
    Single(Client),
    #[cfg(feature = "cluster")]
    Cluster(crate::cluster::Cluster),
    #[cfg(feature = "sentinel")]
    Sentinel(crate::sentinels::Sentinels),
    #[cfg(test)]
    Fake(crate::tests::fake::Fake),
}

/// A connection. Its clones are the same connection.
#[derive(Clone)]
#[cfg_attr(
    any(feature = "cluster", test),
    allow(
        clippy::large_enum_variant,
        reason = "there is one of them, and no box to follow"
    )
)]
pub(crate) enum ServerConnection {
    Single(MultiplexedConnection),
    #[cfg(feature = "cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
    #[cfg(test)]
    Fake(crate::tests::fake::Fake),
}

impl Server {
    pub(crate) const fn new(topology: Topology) -> Self {
        Self {
            topology,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
            step: AtomicI64::new(0),
        }
    }

    pub(crate) fn set(&self, connect_timeout: Duration, response_timeout: Duration) -> Self {
        Self {
            topology: self.topology.clone(),
            connect_timeout,
            response_timeout,
            step: AtomicI64::new(self.step.load(Ordering::Relaxed)),
        }
    }

    /// The same server with the certificates of `tls`.
    #[cfg(feature = "tls")]
    pub(crate) fn secured(&self, tls: &crate::Tls) -> Result<Self, crate::InvalidTls> {
        let certificates = tls.certificates()?;
        let topology = self.topology.secured(&certificates);
        Ok(Self {
            topology: topology.ok_or(crate::InvalidTls::Plain)?,
            ..self.set(self.connect_timeout, self.response_timeout)
        })
    }

    /// Where Redis is, without users and passwords.
    pub(crate) fn address(&self) -> String {
        match &self.topology {
            Topology::Single(client) => client.get_connection_info().addr().to_string(),
            #[cfg(feature = "cluster")]
            Topology::Cluster(cluster) => cluster.addresses(),
            #[cfg(feature = "sentinel")]
            Topology::Sentinel(sentinels) => sentinels.addresses(),
            #[cfg(test)]
            Topology::Fake(_) => "fake".to_owned(),
        }
    }

    /// How long a call can take: two attempts, each of which may have to wait for another call's
    /// connection.
    pub(crate) fn longest_call(&self) -> Duration {
        let attempt = self.connect_timeout.saturating_add(self.response_timeout);
        attempt.saturating_mul(2)
    }

    /// The last argument of the script.
    pub(crate) fn clock(&self) -> String {
        match self.step.load(Ordering::Relaxed) {
            0 => String::new(),
            step => format!("{step:+}"),
        }
    }

    /// Connects. The caller limits the time.
    pub(crate) async fn connect(&self) -> Result<ServerConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        match &self.topology {
            Topology::Single(client) => {
                let open = client.get_multiplexed_async_connection_with_config(&config);
                Ok(ServerConnection::Single(open.await?))
            }
            #[cfg(feature = "cluster")]
            Topology::Cluster(cluster) => {
                // Each step gets only a part of the time, as one node that hangs must not use up
                // all of it.
                let config = redis::cluster::ClusterConfig::new()
                    .set_connection_timeout(self.connect_timeout / 4)
                    .set_response_timeout(self.response_timeout / 2);
                let open = cluster.client.get_async_connection_with_config(config);
                Ok(ServerConnection::Cluster(open.await?))
            }
            #[cfg(feature = "sentinel")]
            Topology::Sentinel(sentinels) => {
                Ok(ServerConnection::Single(sentinels.connect(&config).await?))
            }
            #[cfg(test)]
            Topology::Fake(fake) => Ok(ServerConnection::Fake(fake.clone())),
        }
    }
}

#[cfg(feature = "tls")]
impl Topology {
    /// The same with these certificates, which have been checked. `None` if no part of it uses TLS.
    fn secured(&self, certificates: &redis::TlsCertificates) -> Option<Self> {
        match self {
            Self::Single(client) => {
                let info = client.get_connection_info().clone();
                Some(Self::Single(crate::url::secured(info, certificates)?))
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => Some(Self::Cluster(cluster.secured(certificates)?)),
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinels) => Some(Self::Sentinel(sentinels.secured(certificates)?)),
            #[cfg(test)]
            Self::Fake(_) => None,
        }
    }
}

impl ServerConnection {
    /// Whether the connection leads to several nodes.
    pub(crate) const fn is_cluster(&self) -> bool {
        match self {
            Self::Single(_) => false,
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => true,
            #[cfg(test)]
            Self::Fake(_) => false,
        }
    }

    /// Calls the script, with the clock as the last argument. The caller limits the time.
    pub(crate) async fn call(
        &mut self,
        script: &Script,
        keys: &Keys,
        call: &Call,
        clock: &str,
    ) -> Result<Vec<i64>, RedisError> {
        let command = |name, script: &str| {
            let mut command = Cmd::new();
            command.arg(name).arg(script).arg(keys.names().len());
            command.arg(keys.names()).arg(&call.args()).arg(clock);
            command
        };
        match self {
            Self::Single(open) => query(open, script, command).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(open) => query(open, script, command).await,
            #[cfg(test)]
            Self::Fake(fake) => fake.call(keys, call).await,
        }
    }
}

/// Calls the script by its hash. Calls it by its text if the server does not know it yet, or not
/// any more.
async fn query<C: ConnectionLike>(
    open: &mut C,
    script: &Script,
    command: impl Fn(&'static str, &str) -> Cmd,
) -> Result<Vec<i64>, RedisError> {
    let by_hash = command("EVALSHA", script.get_hash());
    match by_hash.query_async(open).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            command("EVAL", SOURCE).query_async(open).await
        }
        answer => answer,
    }
}

// The clients are not shown, as they have passwords.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConnection").finish_non_exhaustive()
    }
}
