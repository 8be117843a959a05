mod act;
mod request;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

pub use self::{
    act::Act,
    request::{Moment, RawRequest},
};
use self::{act::perform, request::read_request};

/// A real HTTP/1.1 server on the loopback interface that treats each request as its script says.
/// The server stops when it is dropped.
///
/// For tests on Tokio's running clock. A paused clock jumps to the next timer while a test waits
/// for a socket.
pub struct ScriptedServer {
    address: SocketAddr,
    record: Arc<Record>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct Record {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<RawRequest>>,
}

type Script = dyn Fn(&Moment) -> Option<Act> + Send + Sync;

impl ScriptedServer {
    /// Starts a server that does what `script` says. If `script` returns `None`, the server
    /// continues after an accept, and answers a request with 200 and an empty body.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn start(
        script: impl Fn(&Moment) -> Option<Act> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let record = Arc::new(Record::default());
        let script: Arc<Script> = Arc::new(script);
        let accepting = tokio::spawn(accept(listener, script, record.clone()));
        Ok(Self {
            address,
            record,
            accepting: accepting.abort_handle(),
        })
    }

    /// Starts a server that answers the requests with `acts` in order, on any connections, and then
    /// with 200.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn answering(acts: impl IntoIterator<Item = Act>) -> io::Result<Self> {
        let acts: Vec<_> = acts.into_iter().collect();
        Self::start(move |moment| match moment {
            Moment::Accepted(_) => None,
            Moment::Request(request) => acts.get(request.number).cloned(),
        })
        .await
    }

    /// The address at which the server listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URI of `path` on this server.
    #[must_use]
    pub fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections have been accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.record.connections.load(Relaxed)
    }

    /// How many connections are open on this side.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.record.open.load(Relaxed)
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<RawRequest> {
        self.record.requests().clone()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for ScriptedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedServer")
            .field("address", &self.address)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl Record {
    fn requests(&self) -> MutexGuard<'_, Vec<RawRequest>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts connections until the task is aborted, and then drops all connections.
async fn accept(listener: TcpListener, script: Arc<Script>, record: Arc<Record>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = record.connections.fetch_add(1, Relaxed);
        let (script, record) = (script.clone(), record.clone());
        connections.spawn(async move {
            record.open.fetch_add(1, Relaxed);
            // The server does not care if a client goes away.
            let _ = serve(stream, number, &*script, &record).await;
            record.open.fetch_sub(1, Relaxed);
        });
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    script: &Script,
    record: &Record,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(act) = script(&Moment::Accepted(connection))
        && !perform(&mut stream, act).await?
    {
        return Ok(());
    }
    let mut read = Vec::new();
    while let Some((head, body)) = read_request(&mut stream, &mut read).await? {
        let request = {
            let mut requests = record.requests();
            let request = RawRequest {
                connection,
                number: requests.len(),
                head,
                body,
            };
            requests.push(request.clone());
            request
        };
        let act = script(&Moment::Request(request)).unwrap_or_else(|| Act::respond(200, "", ""));
        if !perform(&mut stream, act).await? {
            return Ok(());
        }
    }
    Ok(())
}
