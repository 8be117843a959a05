use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// A server that does to its connections what an HTTP library would not do. It is stopped when it
/// is dropped.
pub(crate) struct RawServer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy)]
enum Deed {
    Reset,
    GoAway { last: u8 },
}

impl RawServer {
    /// Reads the head of a request, and resets the connection.
    pub(crate) async fn resetting() -> Self {
        Self::start(Deed::Reset).await
    }

    /// HTTP/2: reads the head of a request, says that the connection is going away and that the
    /// streams up to `last` are being processed, and closes the connection.
    pub(crate) async fn going_away(last: u8) -> Self {
        Self::start(Deed::GoAway { last }).await
    }

    async fn start(deed: Deed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(serve(listener, deed, Arc::clone(&requests)));
        Self {
            address,
            requests,
            task,
        }
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many requests there have been so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, deed: Deed, requests: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new(); // ends with this task
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let requests = Arc::clone(&requests);
        connections.spawn(async move {
            // A client may give up a connection before it sends anything.
            let _ = match deed {
                Deed::Reset => reset(stream, &requests).await,
                Deed::GoAway { last } => go_away(stream, last, &requests).await,
            };
        });
    }
}

async fn reset(mut stream: TcpStream, requests: &AtomicUsize) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    stream.set_zero_linger()
}

async fn go_away(mut stream: TcpStream, last: u8, requests: &AtomicUsize) -> io::Result<()> {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

    stream.read_exact(&mut [0; PREFACE]).await?;
    stream.write_all(&SETTINGS).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == HEADERS {
            break;
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0];
    stream.write_all(&frame).await?;
    stream.shutdown().await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}
