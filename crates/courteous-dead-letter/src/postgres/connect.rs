use std::{fmt, pin::Pin};

use tokio_postgres::{
    Client, Config, Error, NoTls, Socket,
    tls::{MakeTlsConnect, TlsConnect},
};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A client, and what has to be polled for it to do anything.
pub(super) type Connected = (Client, BoxFuture<'static, Result<(), Error>>);

/// Makes connections, however they are encrypted.
pub(super) trait Connect: Send + Sync {
    fn connect<'a>(&'a self, config: &'a Config) -> BoxFuture<'a, Result<Connected, Error>>;
}

/// Connections by a TLS connector of the user's choice.
pub(super) struct By<T>(pub(super) T);

impl<T> Connect for By<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect<'a>(&'a self, config: &'a Config) -> BoxFuture<'a, Result<Connected, Error>> {
        Box::pin(async move {
            let (client, connection) = config.connect(self.0.clone()).await?;
            Ok((client, Box::pin(connection) as BoxFuture<'static, _>))
        })
    }
}

/// Unencrypted ones.
pub(super) const PLAIN: By<NoTls> = By(NoTls);

impl fmt::Debug for dyn Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect")
    }
}
