use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// A real HTTP/1.1 server on the loopback interface that does to each request what its script says. It stops when it is
/// dropped.
///
/// For tests on Tokio's running clock: a paused one jumps to the next timer while a socket is waited for.
pub struct ScriptedServer {
    address: SocketAddr,
    record: Arc<Record>,
    accepting: AbortHandle,
}

/// What a [`ScriptedServer`] does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Act {
    /// Sends these bytes as they are, and waits for the next request on the connection.
    Send(Bytes),
    /// Sends these bytes, and closes the connection in good order.
    SendAndClose(Bytes),
    /// Sends these bytes `chunk` by `chunk`, with a pause after each, and waits for the next request.
    Drip {
        /// The bytes.
        bytes: Bytes,
        /// How many at a time.
        chunk: usize,
        /// How long between two writes.
        pause: Duration,
    },
    /// Closes the connection in good order, without an answer: the client reads an end of file.
    Close,
    /// Resets the connection.
    Reset,
    /// Keeps the connection, and never answers.
    Stall,
}

/// One moment at which a [`ScriptedServer`] decides.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Moment {
    /// A connection was accepted, and nothing was read from it yet. It is the nth, from 0.
    Accepted(usize),
    /// A request was read to its end.
    Request(RawRequest),
}

/// A request as it came over the wire.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawRequest {
    /// The number of the connection, from 0.
    pub connection: usize,
    /// The number of the request among all of them, from 0.
    pub number: usize,
    /// The request line and the header fields, as sent.
    pub head: String,
    /// The body's bytes, without their chunk framing.
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Record {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<RawRequest>>,
}

type Script = dyn Fn(&Moment) -> Option<Act> + Send + Sync;

impl RawRequest {
    /// The value of the first header field of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Act {
    /// A whole response: this status, a `content-length`, more header lines (each ended by CRLF), this body.
    #[must_use]
    pub fn respond(status: u16, fields: &str, body: &str) -> Self {
        let length = body.len();
        let text =
            format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {length}\r\n{fields}\r\n{body}");
        Self::Send(text.into())
    }
}

impl ScriptedServer {
    /// Starts a server that does what `script` says. With `None` it goes on after an accept, and answers a request with
    /// 200 and an empty body.
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

    /// Starts a server that answers the requests with `acts` in order, over whatever connections, and then with 200.
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

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URI of `path` on this server.
    #[must_use]
    pub fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections were accepted.
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

/// Accepts until it is aborted, and then drops all connections.
async fn accept(listener: TcpListener, script: Arc<Script>, record: Arc<Record>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = record.connections.fetch_add(1, Relaxed);
        let (script, record) = (script.clone(), record.clone());
        connections.spawn(async move {
            record.open.fetch_add(1, Relaxed);
            // A client that goes away is none of the server's business.
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

/// Does it. Whether the connection goes on.
async fn perform(stream: &mut TcpStream, act: Act) -> io::Result<bool> {
    match act {
        Act::Send(bytes) => stream.write_all(&bytes).await?,
        Act::SendAndClose(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
            return Ok(false);
        }
        Act::Drip {
            bytes,
            chunk,
            pause,
        } => {
            for piece in bytes.chunks(chunk.max(1)) {
                stream.write_all(piece).await?;
                sleep(pause).await;
            }
        }
        Act::Close => {
            stream.shutdown().await?;
            return Ok(false);
        }
        Act::Reset => {
            #[allow(
                deprecated,
                reason = "a linger of zero does not block, and is what resets"
            )]
            stream.set_linger(Some(Duration::ZERO))?;
            return Ok(false);
        }
        Act::Stall => std::future::pending().await,
    }
    Ok(true)
}

/// The next request's head and body; `None` if the client has closed the connection.
async fn read_request(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
) -> io::Result<Option<(String, Vec<u8>)>> {
    let Some(end) = read_until(stream, read, b"\r\n\r\n").await? else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    read.drain(..end);
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let mut body = Vec::new();
    if field("transfer-encoding").is_some() {
        loop {
            let Some(end) = read_until(stream, read, b"\r\n").await? else {
                return Ok(None);
            };
            let size = String::from_utf8_lossy(&read[..end - 2]).into_owned();
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            read.drain(..end);
            if size == 0 {
                // Trailers, up to the empty line.
                while let Some(end) = read_until(stream, read, b"\r\n").await? {
                    read.drain(..end);
                    if end == 2 {
                        break;
                    }
                }
                break;
            }
            fill(stream, read, size + 2).await?;
            body.extend_from_slice(&read[..size]);
            read.drain(..size + 2);
        }
    } else if let Some(length) = field("content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        fill(stream, read, length).await?;
        body = read.drain(..length).collect();
    }
    Ok(Some((head, body)))
}

/// Reads until `mark` is there. Where it ends; `None` at the end of the stream.
async fn read_until(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    mark: &[u8],
) -> io::Result<Option<usize>> {
    loop {
        let found = read.windows(mark.len()).position(|bytes| bytes == mark);
        if let Some(start) = found {
            return Ok(Some(start + mark.len()));
        }
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

async fn fill(stream: &mut TcpStream, read: &mut Vec<u8>, length: usize) -> io::Result<()> {
    while read.len() < length {
        if stream.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
