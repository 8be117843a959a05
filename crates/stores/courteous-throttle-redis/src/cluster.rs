use std::sync::Arc;

use futures_util::future::BoxFuture;
use redis::{
    ConnectionInfo, RedisError,
    cluster::{ClusterClient, ClusterClientBuilder, ClusterConfig},
};

use crate::topology::{ClientConnection, ServerConnection, Timeouts, Topology};

/// A cluster, with the nodes that are known at first.
pub(crate) struct Cluster {
    client: ClusterClient,
    nodes: Vec<ConnectionInfo>,
}

impl Cluster {
    pub(crate) fn new(nodes: Vec<ConnectionInfo>) -> Result<Self, RedisError> {
        Ok(Self {
            client: builder(&nodes).build()?,
            nodes,
        })
    }
}

impl Topology for Cluster {
    /// The known nodes, without users and passwords.
    fn address(&self) -> String {
        let nodes = self.nodes.iter().map(|node| node.addr().to_string());
        nodes.collect::<Vec<_>>().join(", ")
    }

    fn connect(
        &self,
        timeouts: Timeouts,
    ) -> BoxFuture<'_, Result<Arc<dyn ServerConnection>, RedisError>> {
        // Each step gets only a part of the time, as one node that hangs must not use up all of it.
        let config = ClusterConfig::new()
            .set_connection_timeout(timeouts.connect / 4)
            .set_response_timeout(timeouts.response / 2);
        Box::pin(async {
            let open = self.client.get_async_connection_with_config(config).await?;
            Ok(ClientConnection::shared(open, true))
        })
    }

    #[cfg(feature = "tls")]
    fn secured(&self, certificates: &redis::TlsCertificates) -> Option<Arc<dyn Topology>> {
        let nodes = self.nodes.clone();
        // All nodes are alike.
        crate::url::secured(nodes.first()?.clone(), certificates)?;
        let client = builder(&nodes).certs(certificates.clone()).build().ok()?;
        Some(Arc::new(Self { client, nodes }))
    }
}

fn builder(nodes: &[ConnectionInfo]) -> ClusterClientBuilder {
    // Each retry is a call that was not made in time. A redirection counts as a retry, too.
    ClusterClientBuilder::new(nodes.iter().cloned())
        .retries(3)
        .min_retry_wait(10)
        .max_retry_wait(50)
}
