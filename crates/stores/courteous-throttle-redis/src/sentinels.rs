use std::sync::Arc;

use futures_util::future::{BoxFuture, select_ok};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError,
    Value, aio::MultiplexedConnection,
};

use crate::topology::{ClientConnection, ServerConnection, Timeouts, Topology, without_timeouts};

/// A primary that Sentinels watch, and know where to find.
///
/// This is the protocol of Redis' own page for clients of Sentinel, with one difference: all
/// Sentinels are asked at once. If they were asked one after another, the first Sentinel that hangs
/// would use up all the time.
pub(crate) struct Sentinels {
    /// There is at least one.
    sentinels: Vec<Client>,
    name: String,
    /// The settings of connections to the primary. The address in them is a placeholder.
    primary: ConnectionInfo,
}

impl Sentinels {
    /// The host of `primary` must be the name by which the `sentinels` know it.
    pub(crate) fn new(
        sentinels: Vec<ConnectionInfo>,
        primary: ConnectionInfo,
    ) -> Result<Self, RedisError> {
        let (ConnectionAddr::Tcp(name, _) | ConnectionAddr::TcpTls { host: name, .. }) =
            primary.addr()
        else {
            return Err((ErrorKind::InvalidClientConfig, "no name of a primary").into());
        };
        if sentinels.is_empty() {
            return Err((ErrorKind::InvalidClientConfig, "no Sentinel").into());
        }
        let sentinels = sentinels.into_iter().map(Client::open);
        Ok(Self {
            sentinels: sentinels.collect::<Result<_, _>>()?,
            name: name.clone(),
            primary,
        })
    }

    /// Connects to the primary. The first Sentinel whose answer is right names it.
    async fn connect_to_primary(
        &self,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        let asked = self.sentinels.iter();
        let asked = asked.map(|sentinel| Box::pin(self.connect_by(sentinel, config)));
        let (connection, _others) = select_ok(asked).await?;
        Ok(connection)
    }

    async fn connect_by(
        &self,
        sentinel: &Client,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        let mut sentinel = sentinel
            .get_multiplexed_async_connection_with_config(config)
            .await?;
        let mut named = Cmd::new();
        named.arg("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME");
        let named: Option<(String, u16)> = named.arg(&self.name).query_async(&mut sentinel).await?;
        let (host, port) = named.ok_or_else(|| {
            let unknown = "a Sentinel knows no primary of that name";
            RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, unknown))
        })?;
        let mut primary = Client::open(self.at(host, port))?
            .get_multiplexed_async_connection_with_config(config)
            .await?;
        // A Sentinel's answer may be out of date.
        let mut role = Cmd::new();
        let role: Vec<Value> = role.arg("ROLE").query_async(&mut primary).await?;
        match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(primary),
            _ => {
                let other = "the server that a Sentinel names is no primary";
                Err((ErrorKind::UnexpectedReturnType, other).into())
            }
        }
    }

    fn at(&self, named: String, at: u16) -> ConnectionInfo {
        let mut address = self.primary.addr().clone();
        if let ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } =
            &mut address
        {
            (*host, *port) = (named, at);
        }
        self.primary.clone().set_addr(address)
    }
}

impl Topology for Sentinels {
    /// The primary's name, and the Sentinels, without users and passwords.
    fn address(&self) -> String {
        let addresses = self.sentinels.iter();
        let addresses = addresses.map(|client| client.get_connection_info().addr().to_string());
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        format!("{} by Sentinels at {addresses}", self.name)
    }

    fn connect(&self, _: Timeouts) -> BoxFuture<'_, Result<Arc<dyn ServerConnection>, RedisError>> {
        Box::pin(async {
            let open = self.connect_to_primary(&without_timeouts()).await?;
            Ok(ClientConnection::shared(open, false))
        })
    }

    /// The same with these certificates. `None` if neither the primary nor any Sentinel uses TLS.
    #[cfg(feature = "tls")]
    fn secured(&self, certificates: &redis::TlsCertificates) -> Option<Arc<dyn Topology>> {
        let secured = |info: &ConnectionInfo| crate::url::secured(info.clone(), certificates);
        let by_tls = |client: &Client| secured(client.get_connection_info());
        let primary = secured(&self.primary).map(|client| client.get_connection_info().clone());
        let sentinels: Vec<_> = self.sentinels.iter().map(by_tls).collect();
        if primary.is_none() && sentinels.iter().all(Option::is_none) {
            return None;
        }
        let sentinels = sentinels.into_iter().zip(&self.sentinels);
        Some(Arc::new(Self {
            sentinels: sentinels
                .map(|(secured, plain)| secured.unwrap_or_else(|| plain.clone()))
                .collect(),
            name: self.name.clone(),
            primary: primary.unwrap_or_else(|| self.primary.clone()),
        }))
    }
}
