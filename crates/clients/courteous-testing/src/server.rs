mod connection;
mod exchange;
mod line;
mod sent_body;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    net::TcpListener,
    runtime::Handle,
    task::{AbortHandle, JoinSet},
};

use crate::{Calls, Mismatch, Script, record::Record};

/// A [`Script`] as a server on 127.0.0.1, for clients that want a URL.
///
/// It speaks HTTP/1.1, and with the feature `server-http2` HTTP/2 as well, both without TLS.
/// Resets, stalls and cut bodies are real: the client reads them from its socket.
///
/// ```
/// use courteous_testing::{Answer, Script};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let server = Script::new([Answer::ok().body("a note")]).serve().await?;
/// let url = server.url("/notes/1"); // http://127.0.0.1:49152/notes/1
/// # let mut stream = tokio::net::TcpStream::connect(server.address()).await?;
/// # let request = format!("GET /notes/1 HTTP/1.1\r\nhost: {url}\r\nconnection: close\r\n\r\n");
/// # stream.write_all(request.as_bytes()).await?;
/// # let mut text = String::new();
/// # stream.read_to_string(&mut text).await?;
/// # assert!(text.ends_with("a note"));
/// // ... let the client get the URL ...
/// server.assert_calls(1);
/// assert_eq!(server.calls()[0].uri(), "/notes/1");
/// # Ok(())
/// # }
/// ```
///
/// # Clock
///
/// For tests on Tokio's **running** clock. A paused clock jumps to the next timer while the test
/// waits for a socket, so that timeouts end that should not. Where a test needs hours, use a
/// [`ScriptService`](crate::ScriptService).
///
/// # What differs from the service
///
/// - A server cannot refuse a connection that carries a request: [`serve`](Script::serve) fails for
///   a script with [`Answer::connection_refused`](crate::Answer::connection_refused). For a refused
///   connection, keep the URL and drop the server.
/// - [`Answer::error`](crate::Answer::error) closes the connection.
/// - Over HTTP/2, a lost connection ends all streams on it.
/// - A call that the script does not know, and an invalid answer, are answered with 501 and the
///   reason as text.
/// - [`Call::attempt`](crate::Call::attempt) is `None`, as nothing of it is sent.
///
/// # Drop
///
/// Dropping the server closes its port and all connections.
pub struct ScriptServer {
    address: SocketAddr,
    record: Arc<Record>,
    accepting: AbortHandle,
}

impl Script {
    /// Starts a server on a free port of 127.0.0.1 that answers by this script. It runs on the
    /// Tokio runtime of the caller.
    ///
    /// # Errors
    ///
    /// If no port can be bound, outside of a Tokio runtime, and if the script has an answer that no
    /// server can give ([`Answer::connection_refused`](crate::Answer::connection_refused)).
    ///
    /// # Panics
    ///
    /// On a runtime without its IO driver (`Builder::enable_io`): Tokio does not tell in advance
    /// whether a runtime has one.
    pub async fn serve(self) -> io::Result<ScriptServer> {
        if !self.is_for_servers() {
            let text = "a server cannot refuse a connection that carries a request";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let record = Record::new(self);
        let accepting = runtime.spawn(accept(listener, record.clone()));
        Ok(ScriptServer {
            address,
            record,
            accepting: accepting.abort_handle(),
        })
    }
}

impl ScriptServer {
    /// The address at which the server listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path` on this server. The path begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.record.calls()
    }

    /// Waits until `calls` requests have come, since the beginning. Cancel safe.
    pub async fn wait_for_calls(&self, calls: usize) {
        self.record.wait_for(calls).await;
    }

    /// Tells whether the requests were those that the script was made for.
    ///
    /// # Errors
    ///
    /// [`Mismatch`] if answers were not given, if there were requests without an answer in the
    /// script, or if an answer was invalid.
    pub fn verify(&self) -> Result<(), Mismatch> {
        self.record.verify()
    }

    /// [`verify`](Self::verify), for the end of a test.
    ///
    /// # Panics
    ///
    /// With the text of the [`Mismatch`].
    #[track_caller]
    pub fn assert_done(&self) {
        crate::asserts::done(self.verify());
    }

    /// Checks how many requests there were.
    ///
    /// # Panics
    ///
    /// With the log of all requests, if there were not exactly `expected`.
    #[track_caller]
    pub fn assert_calls(&self, expected: usize) {
        crate::asserts::calls(&self.calls(), expected);
    }
}

impl Drop for ScriptServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for ScriptServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptServer")
            .field("address", &self.address)
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

/// Accepts connections until the task is aborted, and then drops all connections.
async fn accept(listener: TcpListener, record: Arc<Record>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection::serve(stream, record.clone()));
        // Those that are over.
        while connections.try_join_next().is_some() {}
    }
}
