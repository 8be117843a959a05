mod course;
mod flow;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    try_join,
};

pub use self::{course::Course, flow::Flow};

/// A TCP proxy on the loopback interface that treats each connection as its script says. When the
/// proxy is dropped, it stops and resets all open connections.
///
/// For tests on Tokio's running clock. A paused clock jumps to the next timer while a test waits
/// for a socket.
///
/// The proxy does not look at the bytes it carries, so client and server may speak any protocol.
pub struct ChaosProxy {
    address: SocketAddr,
    refusing: watch::Sender<bool>,
    done: watch::Receiver<bool>,
    record: Arc<Record>,
    server: Arc<Mutex<SocketAddr>>,
    accepting: AbortHandle,
    /// Bound, and not listening, so the port stays ours while connections are refused.
    _port: TcpSocket,
}

#[derive(Default)]
struct Record {
    connections: AtomicUsize,
    open: AtomicUsize,
}

type Script = dyn Fn(usize) -> Course + Send + Sync;

impl ChaosProxy {
    /// Starts a proxy to `server`; `script` says what happens to the nth connection, from 0.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn start(
        server: SocketAddr,
        script: impl Fn(usize) -> Course + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let port = bound((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = port.local_addr()?;
        let listener = listen(address)?;
        let record = Arc::new(Record::default());
        let (refusing, orders) = watch::channel(false);
        let (report, done) = watch::channel(false);
        let server = Arc::new(Mutex::new(server));
        let door = Door {
            address,
            server: Arc::clone(&server),
            script: Arc::new(script),
            record: Arc::clone(&record),
        };
        let accepting = tokio::spawn(door.keep(listener, orders, report));
        Ok(Self {
            address,
            refusing,
            done,
            record,
            server,
            accepting: accepting.abort_handle(),
            _port: port,
        })
    }

    /// Starts a proxy to `server` with a course for each of the first connections. All later
    /// connections are smooth.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn following(
        server: SocketAddr,
        courses: impl IntoIterator<Item = Course>,
    ) -> io::Result<Self> {
        let courses: Vec<_> = courses.into_iter().collect();
        let script = move |connection| courses.get(connection).copied().unwrap_or_default();
        Self::start(server, script).await
    }

    /// The address at which the proxy listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URI of `path` behind the proxy.
    #[must_use]
    pub fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Makes the machine refuse new connections until [`accept`](Self::accept). Open connections
    /// continue.
    pub async fn refuse(&self) {
        self.order(true).await;
    }

    /// Accepts connections again.
    pub async fn accept(&self) {
        self.order(false).await;
    }

    /// Leads new connections to another `server`, as a load balancer or a DNS name does after a
    /// failover. Open connections stay where they are.
    pub fn divert(&self, server: SocketAddr) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    async fn order(&self, refusing: bool) {
        self.refusing.send_replace(refusing);
        let mut done = self.done.clone();
        let done = done.wait_for(|state| *state == refusing).await;
        done.expect("the port is ours, and so can be listened at again");
    }

    /// How many connections have been accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.record.connections.load(Relaxed)
    }

    /// How many connections are alive, including black holes.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.record.open.load(Relaxed)
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for ChaosProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosProxy")
            .field("address", &self.address)
            .field("connections", &self.connections())
            .field("open_connections", &self.open_connections())
            .finish_non_exhaustive()
    }
}

/// What the accepting task needs.
struct Door {
    address: SocketAddr,
    server: Arc<Mutex<SocketAddr>>,
    script: Arc<Script>,
    record: Arc<Record>,
}

impl Door {
    /// Accepts connections until the task is aborted, and then drops all connections.
    async fn keep(
        self,
        listener: TcpListener,
        mut orders: watch::Receiver<bool>,
        report: watch::Sender<bool>,
    ) {
        let mut connections = JoinSet::new();
        let mut listener = Some(listener);
        loop {
            while connections.try_join_next().is_some() {}
            tokio::select! {
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let refusing = *orders.borrow_and_update();
                    listener = match listener {
                        _ if refusing => None,
                        None => match listen(self.address) {
                            Ok(listener) => Some(listener),
                            Err(_) => return,
                        },
                        listening => listening,
                    };
                    report.send_replace(refusing);
                }
                Ok(client) = accept(listener.as_ref()) => {
                    let number = self.record.connections.fetch_add(1, Relaxed);
                    let open = OpenConnection::new(&self.record);
                    let course = (self.script)(number);
                    let server = *self.server.lock().unwrap_or_else(PoisonError::into_inner);
                    connections.spawn(async move {
                        // The side that breaks the connection learns of it from the connection.
                        let _ = connect(client, server, course).await;
                        drop(open);
                    });
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// Carries both directions to their ends.
async fn connect(mut client: TcpStream, server: SocketAddr, course: Course) -> io::Result<()> {
    // A connection that is dropped before both directions have ended is reset.
    client.set_zero_linger()?;
    if course.refused {
        return Ok(());
    }
    let mut server = TcpStream::connect(server).await?;
    server.set_zero_linger()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = async {
        if course.up.carry(from_client, to_server).await? {
            Ok(())
        } else {
            // The client is gone, and nothing else will ever end this connection.
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }
    };
    let down = course.down.carry(from_server, to_client);
    try_join!(up, down)?;
    linger(&client)?;
    linger(&server)
}

/// Turns the linger of zero off again, so that a close is an orderly close.
#[allow(
    deprecated,
    reason = "no linger does not block; what blocks is a linger of some time"
)]
fn linger(stream: &TcpStream) -> io::Result<()> {
    stream.set_linger(None)
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bound(address)?.listen(1024)
}

/// Counts a connection as long as it exists, however it ends.
struct OpenConnection(Arc<Record>);

impl OpenConnection {
    fn new(record: &Arc<Record>) -> Self {
        record.open.fetch_add(1, Relaxed);
        Self(Arc::clone(record))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
