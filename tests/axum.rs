//! The layers around and inside an axum router, on a loopback socket.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod net;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use courteous::{
    Courteous, Stack,
    concurrency::{ConcurrencyLimitLayer, Limiter},
    core::Rejected,
    idempotency::IdempotencyKeyLayer,
    retry::{RetryInfo, RetryLayer, StopReason},
    throttle::{Bucket, ThrottleLayer},
};
use http::{HeaderMap, Request, StatusCode, header::RETRY_AFTER};
use http_body_util::Empty;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tower::{Layer, Service, ServiceExt};

use crate::net::{brisk_retry, eventually, h1_client, h2_client, nobody_listens, streamed, text};

type Http = Client<HttpConnector, Body>;

/// A served router; it is stopped when it is dropped.
struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    async fn new(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { address, task }
    }

    fn get(&self) -> Request<Empty<Bytes>> {
        let uri = format!("http://{}/", self.address);
        Request::get(uri).body(Empty::new()).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a server says to a client that its limits reject.
fn come_back(rejected: &Rejected) -> Response {
    courteous::Error::new(*rejected).into_response()
}

/// Fails the first two of three requests, and echoes the third.
async fn echo(
    State(number): State<Arc<AtomicUsize>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let key = headers["idempotency-key"].to_str().unwrap();
    match number.fetch_add(1, Ordering::SeqCst) % 3 {
        2 => format!("{key} {body}").into_response(),
        _ => StatusCode::BAD_GATEWAY.into_response(),
    }
}

#[tokio::test]
async fn the_standard_stack_goes_around_a_router() {
    let number = Arc::new(AtomicUsize::new(0));
    let router = Router::new()
        .route("/echo", post(echo))
        .with_state(Arc::clone(&number));
    let client = Stack::new()
        .with_retry(brisk_retry())
        .with_idempotency_key(IdempotencyKeyLayer::new())
        .build()
        .unwrap()
        .layer(router);

    let streaming = Body::new(streamed(&["one ", "two"], HeaderMap::new()));
    for body in ["one two".into(), streaming] {
        let request = Request::post("/echo")
            .header("idempotency-key", "mine")
            .body(body)
            .unwrap();
        let response = client.clone().oneshot(request).await.unwrap();
        assert_eq!(RetryInfo::of(&response).attempts(), 3);
        assert_eq!(text(response).await, "mine one two");
    }
    assert_eq!(number.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn the_standard_stack_goes_around_a_client_that_a_router_serves_with() {
    let upstream = Served::new(Router::new().route("/", get(|| async { "hello" }))).await;
    let address = upstream.address;
    let client = Stack::new().build().unwrap().layer(h1_client::<Body>());
    let proxy = Served::new(proxy(client, address)).await;
    let response = h1_client().oneshot(proxy.get()).await.unwrap();
    assert_eq!(text(response).await, "hello");
}

/// A router whose handler asks the server at `address`, and uses `?` on the result.
fn proxy(client: Courteous<Http>, address: SocketAddr) -> Router {
    let handler = async move |State(client): State<Courteous<Http>>| {
        let request = Request::get(format!("http://{address}/?token=s3cret"));
        let request = request.body(Body::empty()).unwrap();
        Ok::<_, courteous::Error>(client.oneshot(request).await?.map(Body::new))
    };
    Router::new().route("/", get(handler)).with_state(client)
}

/// Status, `Retry-After` and body of the answer that a client of a proxy with `stack` gets.
async fn answer(proxy: &Served) -> (u16, Option<u64>, String) {
    let response = h1_client().oneshot(proxy.get()).await.unwrap();
    let status = response.status().as_u16();
    if status != 429 {
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
    let wait = response.headers().get(RETRY_AFTER);
    let wait = wait.map(|wait| wait.to_str().unwrap().parse().unwrap());
    (status, wait, text(response).await)
}

fn proxied(stack: Stack) -> Courteous<Http> {
    stack.build().unwrap().layer(h1_client())
}

#[tokio::test]
async fn a_handler_that_ends_by_its_calls_error_answers_with_a_status_for_it() {
    let (_socket, nowhere) = nobody_listens();
    let client = proxied(Stack::new().with_retry(brisk_retry()));
    let lost = Served::new(proxy(client, nowhere)).await;
    let problem = r#"{"title":"Bad Gateway","status":502}"#;
    assert_eq!(answer(&lost).await, (502, None, problem.to_owned()));

    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let silent = get(move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    });
    let silent = Served::new(Router::new().route("/", silent)).await;
    let soon = Duration::from_millis(100);
    let stack = Stack::new()
        .with_total_timeout(soon)
        .with_attempt_timeout(soon);
    let late = Served::new(proxy(proxied(stack), silent.address)).await;
    let problem = r#"{"title":"Gateway Timeout","status":504}"#;
    assert_eq!(answer(&late).await, (504, None, problem.to_owned()));

    let full = ConcurrencyLimitLayer::per_origin(1).unwrap().fail_fast();
    let stack = Stack::new().with_concurrency_limit(full);
    let full = Served::new(proxy(proxied(stack), silent.address)).await;
    let before = asked.load(Ordering::SeqCst);
    let first = tokio::spawn(h1_client().oneshot(full.get()));
    eventually("the first holds the permit", || {
        asked.load(Ordering::SeqCst) > before
    })
    .await;
    let problem = r#"{"title":"Service Unavailable","status":503}"#;
    assert_eq!(answer(&full).await, (503, None, problem.to_owned()));
    first.abort();
}

#[tokio::test]
async fn a_handlers_client_is_told_for_how_long_the_other_server_wants_a_pause() {
    let busy = || async { (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "7")]) };
    let busy = Served::new(Router::new().route("/", get(busy))).await;
    let stack = Stack::new().with_retry(brisk_retry().with_max_wait(Duration::from_secs(1)));
    let proxy = Served::new(proxy(proxied(stack), busy.address)).await;
    // The server's own answer is passed on.
    assert_eq!(answer(&proxy).await, (429, Some(7), String::new()));
    // Then the origin is closed here. Its jitter is a second at most.
    let (status, wait, body) = answer(&proxy).await;
    assert_eq!(
        (status, &*body),
        (503, r#"{"title":"Service Unavailable","status":503}"#)
    );
    assert!((7..=8).contains(&wait.unwrap()), "{wait:?}");
}

#[tokio::test]
async fn a_servers_concurrency_limit_answers_those_whom_it_rejects() {
    let limiter = Limiter::new(1).unwrap();
    let open = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&open);
    let wait = get(move || async move { gate.acquire().await.map(drop).unwrap() });
    let router = Router::new().route("/", wait).layer(
        ConcurrencyLimitLayer::from(limiter.clone())
            .fail_fast()
            .reject_with(come_back),
    );
    let server = Served::new(router).await;

    let client = h2_client();
    let first = tokio::spawn(client.clone().oneshot(server.get()));
    eventually("the first is being served", || limiter.in_flight() == 1).await;
    let second = client.clone().oneshot(server.get()).await.unwrap();
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!second.headers().contains_key(RETRY_AFTER), "nobody knows");

    open.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    eventually("it was served", || limiter.in_flight() == 0).await;
    let third = client.oneshot(server.get()).await.unwrap();
    assert_eq!(third.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_servers_throttle_answers_those_whom_it_rejects() {
    let bucket = Bucket::new("60/h".parse().unwrap());
    let throttle = ThrottleLayer::from(bucket.clone())
        .fail_fast()
        .reject_with(come_back);
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(throttle);
    let server = Served::new(router).await;

    assert_eq!(bucket.available(), 1);
    let client = h1_client();
    let first = client.clone().oneshot(server.get()).await.unwrap();
    assert_eq!(text(first).await, "hello");
    let second = client.clone().oneshot(server.get()).await.unwrap();
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    let wait: u64 = second.headers()[RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((50..=60).contains(&wait));

    // A courteous client is told when to come back, and by default does not wait that long.
    let retry = brisk_retry().with_max_wait(Duration::from_secs(5));
    let response = retry.layer(client).oneshot(server.get()).await.unwrap();
    let info = RetryInfo::of(&response);
    assert_eq!(
        (info.attempts(), info.stop_reason()),
        (1, StopReason::WaitTooLong)
    );
    assert!(info.not_before().is_some());
}

#[tokio::test]
async fn both_limits_stand_in_a_router_and_keep_its_error() {
    fn is_infallible<S: Service<Request<Body>, Error = Infallible>>(service: S) -> S {
        service
    }

    let concurrency = ConcurrencyLimitLayer::new(8).unwrap();
    let throttle = ThrottleLayer::new("1000/s".parse().unwrap());
    let layers = tower::ServiceBuilder::new()
        .layer(concurrency.reject_with(come_back))
        .layer(throttle.reject_with(come_back));
    let router = Router::new().route("/", get(|| async { "hello" }));
    let wrapped = is_infallible(layers.clone().service(router.clone()));
    let request = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(text(wrapped.oneshot(request).await.unwrap()).await, "hello");

    let server = Served::new(router.layer(layers)).await;
    let response = h1_client().oneshot(server.get()).await.unwrap();
    assert_eq!(text(response).await, "hello");
}

#[tokio::test]
async fn a_retry_around_a_router_can_be_named() {
    struct App {
        api: courteous::retry::Retry<Router>,
    }

    let app = App {
        api: RetryLayer::new().layer(Router::new().route("/", get(|| async { "hello" }))),
    };
    let request = Request::get("/").body(Body::empty()).unwrap();
    let response = app.api.oneshot(request).await.unwrap();
    assert_eq!(text(response).await, "hello");
}

/// Answers `status` with the field `name: value`, and remembers the fields of the requests.
fn forbidding(
    status: StatusCode,
    field: (&'static str, &'static str),
    seen: &Arc<std::sync::Mutex<Vec<HeaderMap>>>,
) -> Router {
    let seen = Arc::clone(seen);
    let answer = move |headers: HeaderMap| {
        seen.lock().unwrap().push(headers);
        std::future::ready((status, [field]))
    };
    Router::new().route("/", get(answer))
}

#[tokio::test]
async fn an_answer_of_ones_own_server_that_forbids_retries_is_obeyed() {
    for (status, field, attempts, reason) in [
        (503, ("x-should-retry", "false"), 1, StopReason::Vetoed),
        (429, ("x-should-retry", "false"), 1, StopReason::Vetoed),
        (429, ("x-envoy-ratelimited", "true"), 1, StopReason::Vetoed),
        (503, ("x-other", "false"), 3, StopReason::AttemptsExhausted),
    ] {
        let seen = Arc::default();
        let status = StatusCode::from_u16(status).unwrap();
        let server = Served::new(forbidding(status, field, &seen)).await;
        let stack = Stack::new().with_retry(brisk_retry());
        let client = stack.build().unwrap().layer(h1_client());
        let response = client.oneshot(server.get()).await.unwrap();
        assert_eq!(response.status(), status);
        let info = RetryInfo::of(&response);
        assert_eq!(
            (info.attempts(), info.stop_reason()),
            (attempts, reason),
            "{field:?}"
        );
        assert_eq!(seen.lock().unwrap().len(), attempts as usize);
    }
}

#[tokio::test]
async fn a_server_is_told_the_number_of_the_attempt_where_that_is_asked_for() {
    let count = http::HeaderName::from_static("x-envoy-attempt-count");
    for asked in [false, true] {
        let seen = Arc::default();
        let field = ("x-other", "1");
        let router = forbidding(StatusCode::SERVICE_UNAVAILABLE, field, &seen);
        let server = Served::new(router).await;
        let mut retry = brisk_retry();
        if asked {
            retry = retry.with_attempt_header(count.clone());
        }
        let stack = Stack::new().with_retry(retry);
        let client = stack.build().unwrap().layer(h1_client());
        drop(client.oneshot(server.get()).await.unwrap());
        let seen = seen.lock().unwrap();
        let told: Vec<_> = seen
            .iter()
            .filter_map(|headers| headers.get(&count))
            .collect();
        assert_eq!(told, if asked { vec!["1", "2", "3"] } else { vec![] });
        let grpc = |headers: &HeaderMap| headers.contains_key("grpc-previous-rpc-attempts");
        assert!(!seen.iter().any(grpc), "that is for gRPC");
    }
}
