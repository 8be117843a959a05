//! The whole stack around real clients, and real servers behind a proxy that breaks their
//! connections. The tests check what the caller sees, how many requests reach the server, and that
//! no permit, socket or task is left.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod net;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use courteous::{
    BoxError, Error, ServiceBuilder, ServiceBuilderExt,
    concurrency::{ConcurrencyLimitLayer, Limiter},
    core::{Elapsed, Scope},
    find_cause,
    idempotency::IdempotencyKeyLayer,
    retry::{Idempotent, RetryInfo, RetryLayer, StopReason},
    throttle::{Rate, ThrottleLayer},
    tonic::{GrpcStatusLayer, TonicClassifier},
};
use courteous_test_servers::{ChaosProxy, Course, Flow};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{net::TcpListener, runtime::Handle, time::Instant};
use tonic::{
    Code, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint, server::TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::ServiceExt;

use crate::net::{Reply, Server, brisk_retry, eventually, h1_client, h2_client};

/// When an attempt into a black hole ends. On a busy machine a healthy attempt may also take this
/// long, and is then tried again.
const ATTEMPT: Duration = Duration::from_millis(500);
/// No healthy attempt takes this long, however busy the machine is.
const LONG: Duration = Duration::from_secs(60);

type Leaf = Client<HttpConnector, Full<Bytes>>;

/// A client, the layers, the proxy, and a server that says hello.
struct Rig {
    leaf: Leaf,
    limiter: Limiter,
    proxy: ChaosProxy,
    server: Server,
    retry: RetryLayer,
    total: Duration,
    attempt: Duration,
}

/// A response, with as much of its body as arrived.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    attempts: u32,
    body: Result<String, BoxError>,
}

impl Rig {
    async fn new(leaf: Leaf, courses: impl IntoIterator<Item = Course>) -> Self {
        let server = Server::start(|_, _| Reply::status(200).with_body("hello")).await;
        Self::around(leaf, server, courses).await
    }

    async fn around(leaf: Leaf, server: Server, courses: impl IntoIterator<Item = Course>) -> Self {
        let address = address_of(&server);
        Self {
            leaf,
            limiter: Limiter::new(8).unwrap(),
            proxy: ChaosProxy::following(address, courses).await.unwrap(),
            server,
            retry: brisk_retry(),
            total: LONG,
            attempt: LONG,
        }
    }

    /// For tests whose attempts end in a black hole.
    fn impatient(self) -> Self {
        Self {
            attempt: ATTEMPT,
            ..self
        }
    }

    async fn post(&self, keyed: bool) -> Result<Answer, Error> {
        let key = IdempotencyKeyLayer::new();
        let key = if keyed {
            key
        } else {
            key.with_methods([]).unwrap()
        };
        let client = ServiceBuilder::new()
            .layer(key)
            .total_timeout(self.total)
            .retry(self.retry.clone())
            .concurrency_limit(ConcurrencyLimitLayer::from(self.limiter.clone()))
            .throttle(ThrottleLayer::new(Rate::UNLIMITED))
            .attempt_timeout(self.attempt)
            .service(self.leaf.clone());
        let request = Request::post(self.proxy.uri("/charges"));
        let request = request.body(Full::from("amount=100")).unwrap();
        let response = client.oneshot(request).await.map_err(Error::new)?;
        let (status, attempts) = (response.status(), RetryInfo::of(&response).attempts());
        let body = response.into_body().collect().await;
        let body = body.map(|body| String::from_utf8(body.to_bytes().into()).unwrap());
        Ok(Answer {
            status,
            attempts,
            body,
        })
    }

    /// Ends everything, and waits until nothing is left of it.
    async fn rest(self) {
        assert_eq!((self.limiter.in_flight(), self.limiter.waiting()), (0, 0));
        let (proxy, server) = (self.proxy, self.server);
        drop(self.leaf);
        eventually("the proxy has no connection", || {
            proxy.open_connections() == 0
        })
        .await;
        eventually("the server has no connection", || {
            server.open_connections() == 0
        })
        .await;
        drop((proxy, server));
        no_task_is_left().await;
    }
}

fn address_of(server: &Server) -> SocketAddr {
    let uri = server.uri("");
    uri.strip_prefix("http://").unwrap().parse().unwrap()
}

async fn no_task_is_left() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    eventually("no task is left", || tasks() == 0).await;
}

/// Each direction with this flow.
fn both_ways(flow: Flow) -> [(bool, Course); 2] {
    let smooth = Course::smooth();
    [
        (false, smooth.with_up(flow)),
        (true, smooth.with_down(flow)),
    ]
}

/// Breaks the first connection after each number of bytes, in steps, in either direction.
async fn broken_anywhere(client: fn() -> Leaf, broken_after: fn(Flow, u64) -> Flow) {
    let (mut sent_twice, mut processed_and_lost) = (0, 0);
    for bytes in (0..250).step_by(10) {
        for (down, course) in both_ways(broken_after(Flow::smooth(), bytes)) {
            // With a key: the retry makes up for the failure, until the head of the response has
            // arrived.
            let rig = Rig::new(client(), [course]).await;
            let answer = rig.post(true).await.unwrap();
            assert_eq!(answer.status, 200);
            match &answer.body {
                Ok(body) => assert_eq!(body, "hello"),
                Err(_) => assert!(down && answer.attempts == 1, "{bytes}, {answer:?}"),
            }
            let seen = rig.server.seen();
            assert!((1..=answer.attempts as usize).contains(&seen.len()));
            assert!(seen.len() <= 2, "one connection was broken, not {seen:?}");
            for request in &seen {
                assert_eq!(request.body, "amount=100");
                assert!(request.header("idempotency-key").is_some());
                assert_eq!(request.head.headers, seen[0].head.headers);
            }
            sent_twice += seen.len() - 1;
            rig.rest().await;

            // Without a key: sent at most once, and the error says that the request may have been
            // processed.
            let rig = Rig::new(client(), [course]).await;
            match rig.post(false).await {
                Ok(answer) => {
                    assert_eq!((answer.status, rig.server.requests()), (StatusCode::OK, 1));
                    assert!(answer.body.map_or(down, |body| body == "hello"));
                }
                Err(error) => {
                    let told = (error.attempts(), error.stop_reason());
                    assert_eq!(told, (Some(1), Some(StopReason::NotIdempotent)));
                    assert!(rig.server.requests() <= 1);
                    processed_and_lost += rig.server.requests();
                }
            }
            rig.rest().await;
        }
    }
    assert!(sent_twice > 0 && processed_and_lost > 0, "nothing was lost");
}

#[tokio::test]
async fn an_http1_connection_that_is_reset_anywhere_costs_nothing_or_is_told() {
    broken_anywhere(h1_client, Flow::reset_after).await;
}

#[tokio::test]
async fn an_http2_connection_that_is_reset_anywhere_costs_nothing_or_is_told() {
    broken_anywhere(h2_client, Flow::reset_after).await;
}

#[tokio::test]
async fn an_http1_connection_that_is_half_closed_anywhere_costs_nothing_or_is_told() {
    broken_anywhere(h1_client, Flow::half_close_after).await;
}

#[tokio::test]
async fn an_http2_connection_that_is_half_closed_anywhere_costs_nothing_or_is_told() {
    broken_anywhere(h2_client, Flow::half_close_after).await;
}

#[tokio::test]
async fn a_slow_line_is_no_fault() {
    let late = Flow::smooth().with_latency(Duration::from_millis(20));
    let drip = Flow::smooth().with_drip(32, Duration::from_millis(2));
    for client in [h1_client, h2_client] {
        for slow in [late, drip] {
            let course = Course::smooth().with_up(slow).with_down(slow);
            let rig = Rig::new(client(), [course]).await;
            let answer = rig.post(false).await.unwrap();
            assert_eq!((answer.attempts, &*answer.body.unwrap()), (1, "hello"));
            assert_eq!(rig.server.requests(), 1);
            rig.rest().await;
        }
    }
}

#[tokio::test]
async fn a_black_hole_ends_with_the_attempt_and_the_next_one_goes_elsewhere() {
    for bytes in [0, 60] {
        for (down, course) in both_ways(Flow::smooth().black_hole_after(bytes)) {
            let mut rig = Rig::new(h1_client(), [course]).await.impatient();
            // As many as a busy machine needs.
            rig.retry = rig.retry.with_max_attempts(20).unwrap();
            let start = Instant::now();
            let answer = rig.post(true).await.unwrap();
            assert!(start.elapsed() >= ATTEMPT);
            assert!(answer.attempts >= 2, "{answer:?}");
            assert_eq!(answer.body.unwrap(), "hello");
            assert!((1..=answer.attempts as usize).contains(&rig.server.requests()));
            rig.rest().await;

            let rig = Rig::new(h1_client(), [course]).await.impatient();
            let error = rig.post(false).await.unwrap_err();
            assert!(error.is_timeout() && !error.is_rejected());
            assert_eq!(error.find::<Elapsed>().unwrap().scope(), Scope::Attempt);
            assert_eq!(error.stop_reason(), Some(StopReason::NotIdempotent));
            assert!(rig.server.requests() <= usize::from(down));
            rig.rest().await;
        }
    }
}

/// All streams of HTTP/2 share a connection. A dead connection looks healthy to a client that does
/// not ping it, so the client has to ping.
#[tokio::test]
async fn a_black_hole_holds_an_http2_client_up_unless_it_pings() {
    for (_, course) in both_ways(Flow::smooth().black_hole_after(60)) {
        let rig = Rig::new(h2_client(), [course]).await.impatient();
        let error = rig.post(true).await.unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(error.attempts(), Some(3));
        assert_eq!(rig.proxy.connections(), 1);
        rig.rest().await;

        let pinging = || {
            Client::builder(TokioExecutor::new())
                .http2_only(true)
                .timer(TokioTimer::new())
                .http2_keep_alive_interval(ATTEMPT / 2)
                .http2_keep_alive_timeout(ATTEMPT)
                .build_http()
        };
        let mut rig = Rig::new(pinging(), [course]).await;
        // A busy machine may be late to answer a ping.
        rig.retry = rig.retry.with_max_attempts(20).unwrap();
        let answer = rig.post(true).await.unwrap();
        assert_eq!(answer.body.unwrap(), "hello");
        assert!(answer.attempts > 1 && rig.proxy.connections() > 1);
        rig.rest().await;
        // The time ran out for the ping or for the attempt.
        let rig = Rig::new(pinging(), [course]).await;
        assert!(rig.post(false).await.unwrap_err().is_timeout());
        rig.rest().await;
    }
}

#[tokio::test]
async fn a_response_that_stops_or_drips_ends_with_the_call() {
    let stops = Flow::smooth().black_hole_after(10_000);
    let drips = Flow::smooth().with_drip(1_000, Duration::from_millis(20));
    for client in [h1_client, h2_client] {
        for down in [stops, drips] {
            let server = Server::start(|_, _| Reply::status(200).with_body("x".repeat(1 << 20)));
            let course = Course::smooth().with_down(down);
            let mut rig = Rig::around(client(), server.await, [course]).await;
            rig.total = 2 * ATTEMPT;
            // On a busy machine the attempt may end before there is a response.
            let error = match rig.post(true).await {
                Ok(answer) => {
                    assert_eq!((answer.attempts, rig.server.requests()), (1, 1));
                    Error::new(answer.body.unwrap_err())
                }
                Err(error) => error,
            };
            assert!(error.is_timeout());
            assert_eq!(error.find::<Elapsed>().unwrap().scope(), Scope::Total);
            assert!(rig.server.requests() <= 1);
            rig.rest().await;
        }
    }
}

#[tokio::test]
async fn a_refused_connection_reaches_no_server_and_a_closed_port_is_tried_again_without_a_key() {
    for client in [h1_client, h2_client] {
        // Accepted, and reset at once: the client cannot know what the server has read.
        let refused = [Course::refused(), Course::refused()];
        let rig = Rig::new(client(), refused).await;
        let answer = rig.post(true).await.unwrap();
        assert_eq!((answer.attempts, rig.server.requests()), (3, 1));
        rig.rest().await;

        // Not accepted at all.
        let rig = Rig::new(client(), []).await;
        rig.proxy.refuse().await;
        let error = rig.post(false).await.unwrap_err();
        let told = (error.attempts(), error.stop_reason());
        assert_eq!(told, (Some(3), Some(StopReason::AttemptsExhausted)));
        assert_eq!((rig.server.requests(), rig.proxy.connections()), (0, 0));
        rig.proxy.accept().await;
        assert_eq!(rig.post(false).await.unwrap().attempts, 1);
        assert_eq!(rig.server.requests(), 1);
        rig.rest().await;
    }
}

/// tonic's health server, and how many calls have reached it. The server ends with the task.
async fn health() -> (SocketAddr, Arc<AtomicUsize>, tokio::task::AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let (_, health) = tonic_health::server::health_reporter();
    let health = InterceptedService::new(health, move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(request)
    });
    let server = tonic::transport::Server::builder().add_service(health);
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (address, calls, server.abort_handle())
}

/// Calls a health server over a first connection of this course. Returns the answer, and how many
/// calls the server has seen.
async fn check(course: Course, idempotent: bool, attempt: Duration) -> (Result<(), Status>, usize) {
    let (address, calls, server) = health().await;
    let proxy = ChaosProxy::following(address, [course]).await.unwrap();
    let limiter = Limiter::new(1).unwrap();
    let channel: Channel = Endpoint::from_shared(proxy.uri("")).unwrap().connect_lazy();
    let client = ServiceBuilder::new()
        .layer(GrpcStatusLayer::new())
        .total_timeout(3 * attempt)
        .retry(brisk_retry().with_classifier(TonicClassifier::new()))
        .concurrency_limit(ConcurrencyLimitLayer::from(limiter.clone()))
        .attempt_timeout(attempt)
        .service(channel);
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.extensions_mut().insert(Idempotent(idempotent));
    let answer = HealthClient::new(client).check(request).await.map(drop);
    // The client is gone.
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
    eventually("the proxy has no connection", || {
        proxy.open_connections() == 0
    })
    .await;
    server.abort();
    drop(proxy);
    no_task_is_left().await;
    (answer, calls.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_grpc_call_over_a_connection_that_breaks_anywhere_costs_nothing_or_is_told() {
    let mut lost = 0;
    for broken_after in [Flow::reset_after, Flow::half_close_after] {
        for bytes in (0..300).step_by(20) {
            for (down, course) in both_ways(broken_after(Flow::smooth(), bytes)) {
                let (answer, calls) = check(course, true, LONG).await;
                assert!((1..=2).contains(&calls), "{bytes}: {calls}, {answer:?}");
                assert!(answer.is_ok() || down, "{bytes}: {answer:?}");

                let (answer, calls) = check(course, false, LONG).await;
                assert!(calls <= 1, "{bytes}: {calls}, {answer:?}");
                assert!(answer.is_err() || calls == 1);
                lost += usize::from(answer.is_err() && calls == 1);
            }
        }
    }
    assert!(lost > 0, "nothing was lost");
}

#[tokio::test]
async fn a_grpc_call_into_a_black_hole_is_deadline_exceeded() {
    for (_, course) in both_ways(Flow::smooth().black_hole_after(60)) {
        let (answer, calls) = check(course, false, ATTEMPT).await;
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(find_cause::<Elapsed>(&status).is_some());
        assert!(calls <= 1);
    }
}
