use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, Script, ServerErrorKind,
    aio::ConnectionLike,
};

use crate::{
    keys::Keys,
    script::{Call, SOURCE},
};

/// Where Redis is: one server, a cluster, or a primary that Sentinels watch.
pub(crate) trait Topology: Send + Sync {
    /// Where Redis is, without users and passwords.
    fn address(&self) -> String;

    /// Connects. The caller limits the time.
    fn connect(
        &self,
        timeouts: Timeouts,
    ) -> BoxFuture<'_, Result<Arc<dyn ServerConnection>, RedisError>>;

    /// The same with these certificates, which have been checked. `None` if no part of it uses TLS.
    #[cfg(feature = "tls")]
    fn secured(&self, certificates: &redis::TlsCertificates) -> Option<Arc<dyn Topology>>;
}

/// How long to wait for Redis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) response: Duration,
}

/// A connection, which many calls may use at once.
pub(crate) trait ServerConnection: Send + Sync {
    /// Whether the connection leads to several nodes.
    fn is_cluster(&self) -> bool;

    /// Calls the script. The caller limits the time.
    fn call<'a>(
        &self,
        keys: &'a Keys,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Vec<i64>, RedisError>>;
}

/// One server.
pub(crate) struct Single(pub(crate) Client);

impl Topology for Single {
    fn address(&self) -> String {
        self.0.get_connection_info().addr().to_string()
    }

    fn connect(&self, _: Timeouts) -> BoxFuture<'_, Result<Arc<dyn ServerConnection>, RedisError>> {
        Box::pin(async {
            let config = without_timeouts();
            let open = self
                .0
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            Ok(ClientConnection::shared(open, false))
        })
    }

    #[cfg(feature = "tls")]
    fn secured(&self, certificates: &redis::TlsCertificates) -> Option<Arc<dyn Topology>> {
        let info = self.0.get_connection_info().clone();
        Some(Arc::new(Self(crate::url::secured(info, certificates)?)))
    }
}

/// The settings of a connection whose caller limits the time.
pub(crate) fn without_timeouts() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
}

/// A connection of the Redis client. Clones of `C` are the same connection.
pub(crate) struct ClientConnection<C> {
    open: C,
    is_cluster: bool,
    source: &'static str,
    script: Arc<Script>,
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> ClientConnection<C> {
    pub(crate) fn shared(open: C, is_cluster: bool) -> Arc<dyn ServerConnection> {
        Arc::new(Self::with_source(open, is_cluster, SOURCE))
    }

    /// Calls `source` as the script.
    pub(crate) fn with_source(open: C, is_cluster: bool, source: &'static str) -> Self {
        Self {
            open,
            is_cluster,
            source,
            script: Arc::new(Script::new(source)),
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> ServerConnection for ClientConnection<C> {
    fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Calls the script by its hash. Calls it by its text if the server does not know it yet, or
    /// not any more.
    fn call<'a>(
        &self,
        keys: &'a Keys,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Vec<i64>, RedisError>> {
        let (mut open, source, script) = (self.open.clone(), self.source, Arc::clone(&self.script));
        Box::pin(async move {
            let command = |name: &str, script: &str| {
                let mut command = Cmd::new();
                command.arg(name).arg(script).arg(keys.names().len());
                command.arg(keys.names()).arg(&call.args());
                command
            };
            let by_hash = command("EVALSHA", script.get_hash());
            match by_hash.query_async(&mut open).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    command("EVAL", source).query_async(&mut open).await
                }
                answer => answer,
            }
        })
    }
}

// The client is not shown, as it has passwords.
impl fmt::Debug for dyn Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topology").finish_non_exhaustive()
    }
}

impl fmt::Debug for dyn ServerConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConnection").finish_non_exhaustive()
    }
}
