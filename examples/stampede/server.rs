//! A server with few workers, and a queue that has no end.

use std::{
    convert::Infallible,
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, oneshot},
    time::sleep,
};

/// How many requests are worked on at a time.
const WORKERS: u32 = 10;
/// How long one takes: 50 ms on average, so all workers serve 200 a second.
const WORK_MS: std::ops::Range<u64> = 25..75;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    uri: Uri,
    gauges: Arc<Gauges>,
}

/// What has come, and what waits.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    received: AtomicU64,
    begun: AtomicU64,
}

/// A request in the queue. Its client may have given up: the worker does not know.
type Job = oneshot::Sender<()>;

impl Server {
    pub(crate) async fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let uri = format!("http://{}/", listener.local_addr()?).parse()?;
        let gauges = Arc::new(Gauges::default());
        let (jobs, queue) = mpsc::unbounded_channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..WORKERS {
            tokio::spawn(work(Arc::clone(&queue), Arc::clone(&gauges)));
        }
        tokio::spawn(accept(listener, jobs, Arc::clone(&gauges)));
        Ok(Self { uri, gauges })
    }

    pub(crate) const fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }
}

impl Gauges {
    /// How many requests have come so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// How many requests wait for a worker.
    pub(crate) fn queue(&self) -> u64 {
        let begun = self.begun.load(Relaxed);
        self.received().saturating_sub(begun)
    }
}

async fn accept(
    listener: TcpListener,
    jobs: mpsc::UnboundedSender<Job>,
    gauges: Arc<Gauges>,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (jobs, gauges) = (jobs.clone(), Arc::clone(&gauges));
        let service = service_fn(move |_: Request<Incoming>| {
            let (done, answer) = oneshot::channel();
            gauges.received.fetch_add(1, Relaxed);
            let is_queued = jobs.send(done).is_ok();
            async move {
                let mut response = Response::new(Full::<Bytes>::default());
                if !is_queued || answer.await.is_err() {
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http2::Builder::new(TokioExecutor::new());
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
    }
}

async fn work(queue: Arc<Mutex<mpsc::UnboundedReceiver<Job>>>, gauges: Arc<Gauges>) {
    loop {
        let Some(job) = queue.lock().await.recv().await else {
            return;
        };
        gauges.begun.fetch_add(1, Relaxed);
        sleep(Duration::from_millis(rand::random_range(WORK_MS))).await;
        // The client may be gone. The work was done all the same.
        let _ = job.send(());
    }
}
