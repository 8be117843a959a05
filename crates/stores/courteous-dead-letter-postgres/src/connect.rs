use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use courteous_dead_letter::BoxFuture;
use tokio_postgres::{
    Client, Config, Error, NoTls, Socket,
    tls::{MakeTlsConnect, TlsConnect},
};

/// Makes connections, encrypted or not.
pub(crate) trait Connect: Send + Sync {
    fn connect<'a>(&'a self, config: &'a Config) -> BoxFuture<'a, Result<(Client, Driver), Error>>;
}

/// Connects with a TLS connector of the user's choice.
pub(crate) struct By<T>(pub(crate) T);

/// Connects without encryption.
pub(crate) const PLAIN: By<NoTls> = By(NoTls);

/// The future that must be polled for a client to make progress.
pub(crate) struct Driver(Option<BoxFuture<'static, ()>>);

impl<T> Connect for By<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect<'a>(&'a self, config: &'a Config) -> BoxFuture<'a, Result<(Client, Driver), Error>> {
        Box::pin(async move {
            let (client, connection) = config.connect(self.0.clone()).await?;
            // Each request that waits for an answer learns how the connection ends, so its result
            // is dropped here.
            let driver = Box::pin(async move { drop(connection.await) });
            Ok((client, Driver(Some(driver))))
        })
    }
}

impl Driver {
    /// Drives the connection for as long as `future` takes.
    pub(crate) async fn along<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.poll(cx);
            future.as_mut().poll(cx)
        })
        .await
    }

    /// Does the same, but returns `None` as soon as the connection has ended.
    pub(crate) async fn until<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| match self.poll(cx) {
            true => future.as_mut().poll(cx).map(Some),
            false => Poll::Ready(None),
        })
        .await
    }

    /// Polls the connection. Returns whether it is still there.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(driver) = &mut self.0
            && Pin::new(driver).poll(cx).is_ready()
        {
            self.0 = None;
        }
        self.0.is_some()
    }
}

impl fmt::Debug for dyn Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect")
    }
}
