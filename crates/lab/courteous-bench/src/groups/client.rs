//! Group 2: whole clients over loopback.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use bytes::Bytes;
use courteous::{Stack, reqwest::ReqwestService};
use http::{Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use reqwest_middleware::ClientBuilder;
use reqwest_retry::{RetryTransientMiddleware, policies::ExponentialBackoff};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    time::Instant,
};
use tower::ServiceExt;

use super::Effort;
use crate::{
    contenders::{self, Finish, Kind, Measurable, OURS, Visit, Who},
    kit::{BODY, Request, Shape, Spread, Table, cpu_of, to_best},
};

/// How many requests are in flight at a time.
const AT_A_TIME: usize = 32;

/// The table of the group.
pub(crate) fn run(effort: Effort) -> io::Result<String> {
    let server = serve()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let mut clients = Clients {
        uri: format!("http://{server}/v1/charges")
            .parse()
            .map_err(io::Error::other)?,
        all: Vec::new(),
    };
    contenders::bare(&mut clients);
    contenders::ours(&mut clients);
    contenders::peers(&mut clients);
    clients.add_reqwest();
    let requests = effort.of(2_000, 10_000);
    for client in &clients.all {
        (client.run)(&runtime, requests / 4);
    }
    let count = clients.all.len();
    for round in 0..effort.of(5, 20) {
        for index in (0..count).map(|index| (index + round) % count) {
            let client = &mut clients.all[index];
            client.samples.push((client.run)(&runtime, requests));
        }
    }
    Ok(format!(
        "HTTP/1.1, {AT_A_TIME} requests at a time, from one thread to a server in another; CPU is the client's.\n\n{}",
        clients.table()
    ))
}

/// What one client did in one round.
struct Sample {
    per_second: f64,
    p50: f64,
    p99: f64,
    /// Microseconds per request.
    cpu: f64,
}

type Workload = Box<dyn Fn(&Runtime, usize) -> Sample>;

struct Measured {
    who: String,
    /// The client that it is built on.
    base: Base,
    is_bare: bool,
    run: Workload,
    samples: Vec<Sample>,
}

impl Measured {
    fn is_ours(&self) -> bool {
        self.who.starts_with(OURS)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Hyper,
    Reqwest,
}

struct Clients {
    uri: Uri,
    all: Vec<Measured>,
}

impl Visit for Clients {
    type Body = Incoming;
    type Error = legacy::Error;
    type Client = Client<HttpConnector, Full<Bytes>>;

    fn visit<S: Measurable>(&mut self, who: Who, around: impl Fn(Self::Client) -> S) {
        let name = match who.kind {
            _ if who.is_bare() && !who.has_task && !who.kind.is_keyed() => "hyper-util".to_owned(),
            Kind::Five if !who.is_bare() => format!("{}: all five, over hyper-util", who.name),
            Kind::Stack => format!("{}: `Stack`, over hyper-util", who.name),
            _ => return,
        };
        let client = Client::builder(TokioExecutor::new()).build_http();
        let service = around(client);
        let uri = self.uri.clone();
        let run = runs(move || {
            let (service, request) = (service.clone(), request(&uri));
            async move {
                match service.oneshot(request).await {
                    Ok(response) => response.finish().await,
                    Err(error) => panic!("the call failed: {error:?}"),
                }
            }
        });
        self.add(name, Base::Hyper, who.is_bare(), run);
    }
}

fn request(uri: &Uri) -> Request {
    let mut request = Shape::Realistic.request(false);
    *request.uri_mut() = uri.clone();
    request
}

impl Clients {
    fn add(&mut self, who: String, base: Base, is_bare: bool, run: Workload) {
        self.all.push(Measured {
            who,
            base,
            is_bare,
            run,
            samples: Vec::new(),
        });
    }

    fn add_reqwest(&mut self) {
        let uri = self.uri.clone();
        let client = reqwest::Client::new();
        let bare = runs(move || {
            let (client, request) = (client.clone(), request(&uri));
            async move {
                let request = of_reqwest(request);
                let response = client.execute(request).await;
                read(response.unwrap_or_else(|error| panic!("{error}"))).await;
            }
        });
        self.add("reqwest".to_owned(), Base::Reqwest, true, bare);

        let uri = self.uri.clone();
        let policy = ExponentialBackoff::builder().build_with_max_retries(2);
        let client = ClientBuilder::new(reqwest::Client::new())
            .with(RetryTransientMiddleware::new_with_policy(policy))
            .build();
        let retry = runs(move || {
            let (client, request) = (client.clone(), request(&uri));
            async move {
                let request = of_reqwest(request);
                let response = client.execute(request).await;
                read(response.unwrap_or_else(|error| panic!("{error}"))).await;
            }
        });
        let name = "reqwest-middleware with reqwest-retry, over reqwest".to_owned();
        self.add(name, Base::Reqwest, false, retry);

        let uri = self.uri.clone();
        let stack = Stack::new().build();
        let stack = stack.unwrap_or_else(|error| panic!("{error}"));
        let service = stack.layer(ReqwestService::from(reqwest::Client::new()));
        let ours = runs(move || {
            let (service, request) = (service.clone(), request(&uri));
            async move {
                let response = service
                    .oneshot(request.map(|_| reqwest::Body::from(BODY)))
                    .await;
                let response = response.unwrap_or_else(|error| panic!("{error}"));
                response.finish().await;
            }
        });
        let name = format!("{OURS}: `Stack`, over reqwest");
        self.add(name, Base::Reqwest, false, ours);
    }

    fn table(&self) -> Table {
        let mut table = Table::new(
            1,
            [
                "client",
                "requests/s",
                "p50, us",
                "p99, us",
                "CPU, us per request (min < **median** < max)",
                "added to the bare client, us",
                "%",
                "ours / best peer, added",
            ],
        );
        for client in &self.all {
            let of = |what: fn(&Sample) -> f64| {
                let samples: Vec<_> = client.samples.iter().map(what).collect();
                Spread::of(&samples)
            };
            let peers = self.all.iter();
            let peers = peers
                .filter(|peer| peer.base == client.base && !peer.is_bare && !peer.is_ours())
                .map(|peer| self.added(peer, false).median);
            let [micros, percent] = match client.is_bare {
                true => ["-".to_owned(), "-".to_owned()],
                false => [
                    format!("{:.2}", self.added(client, false)),
                    format!("{:.0}", self.added(client, true).median),
                ],
            };
            let ratio = match client.is_ours() {
                true => to_best(self.added(client, false).median, peers),
                false => "-".to_owned(),
            };
            table.row([
                client.who.clone(),
                format!("{:.0}", of(|sample| sample.per_second).median),
                format!("{:.0}", of(|sample| sample.p50).median),
                format!("{:.0}", of(|sample| sample.p99).median),
                format!("{:.2}", of(|sample| sample.cpu)),
                micros,
                percent,
                ratio,
            ]);
        }
        table
            .row(["(goal for all five)", "-", "-", "-", "-", "0.90", "10", "-"].map(str::to_owned));
        table
    }

    /// The CPU that a client adds to the bare client in the same round: microseconds, or percent if
    /// `relative`.
    fn added(&self, client: &Measured, relative: bool) -> Spread {
        let bare = self.all.iter();
        let bare = bare.filter(|bare| bare.is_bare && bare.base == client.base);
        let pairs = client
            .samples
            .iter()
            .zip(bare.flat_map(|bare| &bare.samples));
        let added: Vec<_> = pairs
            .map(|(with, without)| match relative {
                true => 100.0 * (with.cpu / without.cpu - 1.0),
                false => with.cpu - without.cpu,
            })
            .collect();
        Spread::of(&added)
    }
}

fn of_reqwest(request: Request) -> reqwest::Request {
    let request = request.map(|_| reqwest::Body::from(BODY));
    request
        .try_into()
        .unwrap_or_else(|error: reqwest::Error| panic!("{error}"))
}

async fn read(response: reqwest::Response) {
    if let Err(error) = response.bytes().await {
        panic!("{error}");
    }
}

/// Makes requests with `call`, several at a time.
fn runs<C, F>(call: C) -> Workload
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    Box::new(move |runtime, requests| {
        let each = requests / AT_A_TIME;
        let times = Arc::new(Mutex::new(Vec::with_capacity(requests)));
        let start = Instant::now();
        let cpu = cpu_of(|| {
            runtime.block_on(async {
                let tasks: Vec<_> = (0..AT_A_TIME)
                    .map(|_| tokio::spawn(one_by_one(call.clone(), each, Arc::clone(&times))))
                    .collect();
                for task in tasks {
                    if let Err(error) = task.await {
                        panic!("{error}");
                    }
                }
            });
        });
        let seconds = start.elapsed().as_secs_f64();
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        times.sort_by(f64::total_cmp);
        let done = times.len();
        Sample {
            per_second: done as f64 / seconds,
            p50: times[done / 2],
            p99: times[done * 99 / 100],
            cpu: cpu.as_secs_f64() * 1e6 / done as f64,
        }
    })
}

/// Makes one request after the other, and records the microseconds that each took.
async fn one_by_one<C, F>(call: C, requests: usize, times: Arc<Mutex<Vec<f64>>>)
where
    C: Fn() -> F,
    F: Future<Output = ()>,
{
    for _ in 0..requests {
        let start = Instant::now();
        call().await;
        let took = start.elapsed().as_secs_f64() * 1e6;
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        times.push(took);
    }
}

/// A server in its own thread, for as long as the program runs.
fn serve() -> io::Result<SocketAddr> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        runtime.block_on(async {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let connection = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::spawn(async {
                    // The client may end the connection in any way.
                    let _ = connection.await;
                });
            }
        });
    });
    Ok(address)
}

async fn answer(request: http::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // The body's end must be seen, so that the connection is used again.
    let _ = request.into_body().collect().await;
    Ok(Response::new(Full::from(&b"{\"id\":\"ch_1\"}"[..])))
}
