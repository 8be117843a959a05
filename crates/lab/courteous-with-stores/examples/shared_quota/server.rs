//! The server that the workers call: it counts its requests.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use courteous_test_servers::{Sends, Sent};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The header that tells which worker sent a request, when the throttle was asked, and two instants
/// between which the request was sent: as numbers, separated by spaces.
pub(crate) const SENT: &str = "x-sent";

/// A running server. It ends with the program.
#[derive(Debug)]
pub(crate) struct CountingServer {
    address: SocketAddr,
    sends: Sends,
    waits: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl CountingServer {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = Self {
            address: listener.local_addr()?,
            sends: Sends::new(),
            waits: Arc::default(),
        };
        let (sends, waits) = (server.sends.clone(), Arc::clone(&server.waits));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sends, waits) = (sends.clone(), Arc::clone(&waits));
                let count = service_fn(move |request| {
                    if let Some((asked, sent)) = sent(&request) {
                        sends.push(sent);
                        let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
                        waits.push((sent.by, sent.by.saturating_sub(asked)));
                    }
                    async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), count));
            }
        });
        Ok(server)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests that the server received.
    pub(crate) const fn sends(&self) -> &Sends {
        &self.sends
    }

    /// How long each request took from the call to its send, the quickest first. The first two
    /// seconds do not count, as a new schedule begins empty.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waits.iter().map(|(by, _)| *by).min().unwrap_or(0);
        let warm = waits.iter().filter(|(by, _)| *by > first + 2_000_000_000);
        let mut waits: Vec<_> = warm.map(|(_, wait)| Duration::from_nanos(*wait)).collect();
        waits.sort_unstable();
        waits
    }
}

fn sent<B>(request: &Request<B>) -> Option<(u64, Sent)> {
    let mut numbers = request.headers().get(SENT)?.to_str().ok()?.split(' ');
    let mut next = || numbers.next()?.parse::<u64>().ok();
    let worker = usize::try_from(next()?).ok()?;
    let (asked, after, by) = (next()?, next()?, next()?);
    Some((asked, Sent { worker, after, by }))
}
