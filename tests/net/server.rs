use std::{
    future::pending,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use courteous::{AnyBody, BoxError};
use http::{HeaderMap, Request, Response, Version, request::Parts};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use super::Reply;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }
}

/// A server for HTTP/1.1 and HTTP/2. It is stopped when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    log: Arc<Log>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    bodies: AtomicUsize,
}

type Answer = dyn Fn(usize, &Seen) -> Reply + Send + Sync;

impl Server {
    /// Starts a server. `answer` gets each request and its number, from 1, and makes the reply.
    pub(crate) async fn start(
        answer: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answer)
    }

    pub(crate) fn on(
        listener: TcpListener,
        answer: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let task = tokio::spawn(serve(listener, Arc::clone(&log), Arc::new(answer)));
        Self { address, log, task }
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.seen.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.log.seen.lock().unwrap().len()
    }

    /// How many connections there have been so far.
    pub(crate) fn connections(&self) -> usize {
        self.log.accepted.load(Ordering::SeqCst)
    }

    /// How many connections there are now.
    pub(crate) fn open_connections(&self) -> usize {
        self.log.open.load(Ordering::SeqCst)
    }

    /// How many responses are being sent.
    pub(crate) fn open_bodies(&self) -> usize {
        self.log.bodies.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, log: Arc<Log>, answer: Arc<Answer>) {
    let mut connections = JoinSet::new(); // ends with this task
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        log.accepted.fetch_add(1, Ordering::SeqCst);
        log.open.fetch_add(1, Ordering::SeqCst);
        let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
        connections.spawn(async move {
            let seen_by = Arc::clone(&log);
            let service = service_fn(move |request| {
                reply(request, Arc::clone(&seen_by), Arc::clone(&answer))
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            log.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn reply(
    request: Request<Incoming>,
    log: Arc<Log>,
    answer: Arc<Answer>,
) -> Result<Response<Counted>, BoxError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    let seen = Seen {
        head,
        body,
        trailers,
    };
    let number = {
        let mut requests = log.seen.lock().unwrap();
        requests.push(seen.clone());
        requests.len()
    };
    match answer(number, &seen) {
        Reply::Send(response) => Ok(response.map(|body| Counted::new(body, log))),
        Reply::Close => Err("as told".into()),
        Reply::RefuseStream => {
            assert_eq!(seen.head.version, Version::HTTP_2);
            Err(h2::Error::from(h2::Reason::REFUSED_STREAM).into())
        }
        Reply::Hang => pending().await,
    }
}

/// A body that is counted as long as it exists.
struct Counted {
    body: AnyBody,
    log: Arc<Log>,
}

impl Counted {
    fn new(body: AnyBody, log: Arc<Log>) -> Self {
        log.bodies.fetch_add(1, Ordering::SeqCst);
        Self { body, log }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.log.bodies.fetch_sub(1, Ordering::SeqCst);
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
