use redis::{
    ConnectionInfo, RedisError,
    cluster::{ClusterClient, ClusterClientBuilder},
};

/// A cluster, with the nodes that are known at first.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: ClusterClient,
    nodes: Vec<ConnectionInfo>,
}

impl Cluster {
    pub(crate) fn new(nodes: Vec<ConnectionInfo>) -> Result<Self, RedisError> {
        Ok(Self {
            client: builder(&nodes).build()?,
            nodes,
        })
    }

    /// The known nodes, without users and passwords.
    pub(crate) fn addresses(&self) -> String {
        let nodes = self.nodes.iter().map(|node| node.addr().to_string());
        nodes.collect::<Vec<_>>().join(", ")
    }

    #[cfg(feature = "tls")]
    pub(crate) fn secured(&self, certificates: &redis::TlsCertificates) -> Option<Self> {
        let nodes = self.nodes.clone();
        // All nodes are alike.
        crate::url::secured(nodes.first()?.clone(), certificates)?;
        let client = builder(&nodes).certs(certificates.clone()).build().ok()?;
        Some(Self { client, nodes })
    }
}

fn builder(nodes: &[ConnectionInfo]) -> ClusterClientBuilder {
    // Each retry is a call that was not made in time. A redirection counts as a retry, too.
    ClusterClientBuilder::new(nodes.iter().cloned())
        .retries(3)
        .min_retry_wait(10)
        .max_retry_wait(50)
}
