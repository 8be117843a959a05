//! The example `axum_shutdown` as a process that gets SIGTERM while calls are in flight.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod net;

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use axum::{Router, body::Body, routing::put};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{Empty, StreamBody};
use tokio::{net::TcpListener, sync::Semaphore, sync::mpsc, task::JoinSet, time::timeout};
use tower::ServiceExt;

use crate::net::{eventually, h1_client, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// The upstream server. It answers orders and reports when it may, and every second order gets a
/// body that begins at once.
#[derive(Clone)]
struct Upstream {
    orders: Arc<Semaphore>,
    reports: Arc<Semaphore>,
    arrived: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
}

impl Upstream {
    fn new() -> Self {
        Self {
            orders: Arc::new(Semaphore::new(0)),
            reports: Arc::new(Semaphore::new(0)),
            arrived: Arc::default(),
            answered: Arc::default(),
        }
    }

    async fn order(self) -> Body {
        let number = self.arrived.fetch_add(1, SeqCst);
        let rest = async move {
            drop(self.orders.acquire().await.unwrap());
            self.answered.fetch_add(1, SeqCst);
            Ok::<_, std::io::Error>(Frame::data(Bytes::from("accepted")))
        };
        match number % 2 {
            0 => Body::new(StreamBody::new(Box::pin(stream::once(rest)))),
            _ => rest.await.unwrap().into_data().unwrap().into(),
        }
    }

    async fn report(self) {
        self.arrived.fetch_add(1, SeqCst);
        drop(self.reports.acquire().await.unwrap());
        self.answered.fetch_add(1, SeqCst);
    }

    async fn serve(&self) -> SocketAddr {
        let (order, report) = (self.clone(), self.clone());
        let router = Router::new()
            .route("/orders", put(async || order.order().await))
            .route("/reports", put(async || report.report().await));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, router).await });
        address
    }
}

/// The example's process, killed when it is dropped.
struct Example {
    process: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Example {
    fn start(upstream: SocketAddr, seconds: u32) -> Self {
        let mut process = Command::new(program())
            .args([format!("http://{upstream}"), seconds.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        Self { process, lines }
    }

    /// The next line that the example prints; `None` when it has ended.
    async fn line(&mut self) -> Option<String> {
        timeout(PATIENCE, self.lines.recv()).await.unwrap()
    }

    async fn address(&mut self) -> SocketAddr {
        let line = self.line().await.unwrap();
        line.strip_prefix("listening on ").unwrap().parse().unwrap()
    }

    async fn terminate(&mut self) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &process]).status();
        assert!(sent.unwrap().success());
        assert_eq!(self.line().await.unwrap(), "stops accepting");
    }

    /// All that the example still prints, and its exit code.
    async fn end(mut self) -> (Vec<String>, Option<i32>) {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            lines.push(line);
        }
        (lines, self.process.wait().unwrap().code())
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The example's program. `cargo test` builds it; a test that runs alone has to build it.
fn program() -> PathBuf {
    let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap();
    let program = program.join("examples/axum_shutdown");
    let source = modified(&root.join("examples/axum_shutdown.rs")).unwrap();
    // Two tests need the program at the same time.
    let lock = File::create(env::temp_dir().join("courteous-axum-shutdown.lock")).unwrap();
    lock.lock().unwrap();
    if modified(&program).is_ok_and(|built| built >= source) {
        return program;
    }
    let build = ["build", "--quiet", "--example", "axum_shutdown"];
    let mut build = Command::new(env!("CARGO"))
        .args(build)
        .current_dir(root)
        .spawn()
        .unwrap();
    assert!(build.wait().unwrap().success());
    program
}

/// Sends orders to the service, and reads the answers.
fn send_orders(count: usize, service: SocketAddr) -> JoinSet<(StatusCode, String)> {
    let client = h1_client::<Empty<Bytes>>();
    let mut orders = JoinSet::new();
    for _ in 0..count {
        let request = Request::post(format!("http://{service}/orders"));
        let order = client.clone().oneshot(request.body(Empty::new()).unwrap());
        orders.spawn(async move {
            let response = order.await.unwrap();
            (response.status(), text(response).await)
        });
    }
    orders
}

async fn all_accepted(orders: JoinSet<(StatusCode, String)>) {
    let answers = timeout(PATIENCE, orders.join_all()).await.unwrap();
    for answer in answers {
        assert_eq!(answer, (StatusCode::OK, "accepted".to_owned()));
    }
}

#[tokio::test]
async fn all_calls_in_flight_at_sigterm_end_and_none_is_lost() {
    let upstream = Upstream::new();
    let mut example = Example::start(upstream.serve().await, 60);
    let service = example.address().await;
    let orders = send_orders(6, service);
    eventually("6 orders and a report are in flight", || {
        upstream.arrived.load(SeqCst) == 7
    })
    .await;

    example.terminate().await;
    eventually("nobody listens", || TcpStream::connect(service).is_err()).await;
    assert!(example.process.try_wait().unwrap().is_none());
    upstream.orders.add_permits(1);
    all_accepted(orders).await;

    // The report is still in flight: the client waits for it.
    assert_eq!(example.line().await.unwrap(), "all requests answered");
    assert_eq!(upstream.answered.load(SeqCst), 6);
    upstream.reports.add_permits(1);
    let (lines, code) = example.end().await;
    assert_eq!((lines.len(), code), (2, Some(0)), "{lines:?}");
    assert_eq!(lines[0], "all calls ended");
    assert!(lines[1].starts_with("1 reports made; then: "), "{lines:?}");
    assert_eq!(
        (
            upstream.arrived.load(SeqCst),
            upstream.answered.load(SeqCst)
        ),
        (7, 7)
    );
}

#[tokio::test]
async fn a_call_that_does_not_end_is_told_at_the_deadline() {
    let upstream = Upstream::new();
    let mut example = Example::start(upstream.serve().await, 0);
    let service = example.address().await;
    let orders = send_orders(2, service);
    eventually("2 orders and a report are in flight", || {
        upstream.arrived.load(SeqCst) == 3
    })
    .await;
    example.terminate().await;
    upstream.orders.add_permits(1);
    all_accepted(orders).await;
    let (lines, code) = example.end().await;
    let told = "1 call still in flight at the deadline of the close";
    assert_eq!(lines, ["all requests answered", told]);
    assert_eq!((code, upstream.answered.load(SeqCst)), (Some(1), 2));
}
