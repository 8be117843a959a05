use std::{sync::Arc, time::Duration};

use redis::RedisError;

use crate::topology::{ServerConnection, Timeouts, Topology};

/// Where Redis is, and how long to wait for it.
#[derive(Debug)]
pub(crate) struct Server {
    topology: Arc<dyn Topology>,
    timeouts: Timeouts,
}

impl Server {
    pub(crate) fn new(topology: impl Topology + 'static) -> Self {
        Self {
            topology: Arc::new(topology),
            timeouts: Timeouts {
                connect: Duration::from_secs(1),
                response: Duration::from_millis(500),
            },
        }
    }

    /// The same server with other timeouts.
    pub(crate) fn with_timeouts(&self, connect: Duration, response: Duration) -> Self {
        Self {
            topology: Arc::clone(&self.topology),
            timeouts: Timeouts { connect, response },
        }
    }

    /// The same server with the certificates of `tls`.
    #[cfg(feature = "tls")]
    pub(crate) fn secured(&self, tls: &crate::Tls) -> Result<Self, crate::InvalidTls> {
        let certificates = tls.certificates()?;
        let topology = self.topology.secured(&certificates);
        Ok(Self {
            topology: topology.ok_or(crate::InvalidTls::Plain)?,
            timeouts: self.timeouts,
        })
    }

    pub(crate) const fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Where Redis is, without users and passwords.
    pub(crate) fn address(&self) -> String {
        self.topology.address()
    }

    /// How long a call can take: two attempts, each of which may have to wait for another call's
    /// connection.
    pub(crate) fn longest_call(&self) -> Duration {
        let Timeouts { connect, response } = self.timeouts;
        connect.saturating_add(response).saturating_mul(2)
    }

    /// Connects. The caller limits the time.
    pub(crate) async fn connect(&self) -> Result<Arc<dyn ServerConnection>, RedisError> {
        self.topology.connect(self.timeouts).await
    }
}
