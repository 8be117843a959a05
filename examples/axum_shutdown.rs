//! A service that shuts down without losing a call. At SIGTERM it takes no more requests, answers
//! the requests that it has, and closes its client.
//!
//! ```text
//! cargo run --example axum_shutdown
//! cargo run --example axum_shutdown -- http://127.0.0.1:9000 5
//! ```
//!
//! Each `POST /orders` becomes a call to the upstream server, whose URL is the first argument. The
//! second argument is how many seconds the calls in flight get at the end.

mod common;

use std::{
    env,
    error::Error,
    io,
    net::SocketAddr,
    process::{self, Command, ExitCode},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::{post, put},
};
use courteous::{Courteous, Stack, client::Closer};
use http::{Request, StatusCode};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

#[derive(Clone)]
struct App {
    upstream: Courteous<Client<HttpConnector, Body>>,
    url: Arc<str>,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    // Without an upstream server, this process plays all parts.
    let answers = Arc::new(Semaphore::new(0));
    let (url, plays) = match arguments.next() {
        Some(url) => (url, false),
        None => (play_upstream(&answers).await?, true),
    };
    let seconds = arguments.next().map_or(Ok(10), |text| text.parse())?;

    let client = Client::builder(TokioExecutor::new()).build_http();
    let stack = Stack::new().with_attempt_timeout(Duration::from_secs(30));
    let upstream = stack.build()?.layer(client);
    let closer = upstream.closer().clone();
    let app = App {
        upstream,
        url: url.into(),
    };
    let terminated = terminated()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("listening on {address}");
    let audience = tokio::spawn(play_audience(plays, address, closer.clone(), answers));

    // A task of the service that no request waits for.
    let reports = tokio::spawn(make_reports(app.clone()));

    // First the server: it stops accepting, and its handlers still use the client.
    let router = Router::new().route("/orders", post(order)).with_state(app);
    axum::serve(listener, router)
        .with_graceful_shutdown(terminated)
        .await?;
    println!("all requests answered");

    // Then the client: all other calls in flight have this long to end.
    let deadline = Instant::now() + Duration::from_secs(seconds);
    if let Err(unfinished) = closer.close(deadline).await {
        println!("{unfinished}");
        return Ok(ExitCode::FAILURE);
    }
    println!("all calls ended");
    println!("{}", reports.await?);
    audience.await??;
    Ok(ExitCode::SUCCESS)
}

/// Passes an order on to the upstream server, and its answer back.
async fn order(State(app): State<App>, body: Body) -> Response {
    let request = Request::put(format!("{}/orders", app.url)).body(body);
    let Ok(request) = request else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    match app.upstream.send(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// Makes reports until the client is closed.
async fn make_reports(app: App) -> String {
    let mut made = 0;
    loop {
        let request = Request::put(format!("{}/reports", app.url)).body(Body::empty());
        let Ok(request) = request else {
            return "no such upstream server".to_owned();
        };
        match app.upstream.send(request).await {
            Ok(_) => made += 1,
            Err(error) => return format!("{made} reports made; then: {error}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Resolves at SIGTERM.
#[cfg(unix)]
fn terminated() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut signal = signal(SignalKind::terminate())?;
    Ok(async move {
        signal.recv().await;
        println!("stops accepting");
    })
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
fn terminated() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
        println!("stops accepting");
    })
}

/// An upstream server that answers when `answers` has a permit.
async fn play_upstream(answers: &Arc<Semaphore>) -> io::Result<String> {
    let answers = Arc::clone(answers);
    let answer = put(async move || match answers.acquire().await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    });
    let router = Router::new().route("/{*any}", answer);
    Ok(format!("http://{}", common::serve(router).await?))
}

/// Sends four orders. When they and a report are in flight, sends SIGTERM to this process.
async fn play_audience(
    plays: bool,
    service: SocketAddr,
    closer: Closer,
    answers: Arc<Semaphore>,
) -> io::Result<()> {
    if !plays {
        return Ok(());
    }
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut orders = JoinSet::new();
    for _ in 0..4 {
        let request = Request::post(format!("http://{service}/orders")).body(Body::empty());
        orders.spawn(client.request(request.map_err(io::Error::other)?));
    }
    while closer.in_flight() < 5 {
        sleep(Duration::from_millis(1)).await;
    }
    let terminate = ["-TERM".to_owned(), process::id().to_string()];
    Command::new("kill").args(terminate).status()?;
    answers.add_permits(1);
    while let Some(response) = orders.join_next().await {
        let status = response?.map_err(io::Error::other)?.status();
        println!("{status}");
        assert_eq!(status, StatusCode::OK);
    }
    Ok(())
}
