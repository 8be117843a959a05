//! The layers around a tonic channel with a generated client, on loopback sockets.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod net;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use courteous::{
    Courteous, ServiceBuilder, ServiceBuilderExt, Stack,
    concurrency::{ConcurrencyLimitLayer, Limiter},
    core::{Elapsed, LongLived, Outcome, Rejected, Scope, Verdict},
    find_cause,
    retry::{Budget, Idempotent, Retried, RetryInfo, RetryLayer, StopReason},
    stack::StackLayer,
    throttle::PerOrigin,
    timeout::AttemptTimeoutLayer,
    tonic::{GrpcStatus, GrpcStatusLayer, TonicClassifier},
};
use futures_util::stream::{self, Stream, StreamExt};
use http::Request;
use tokio::{net::TcpListener, time::Instant};
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};
use tower::ServiceExt;

use crate::net::{RawServer, Reply, Server, brisk_retry, nobody_listens, text};

/// `HealthCheckResponse { status: Serving }`.
const SERVING: &[u8] = &[8, 1];

fn channel(uri: String) -> Channel {
    Endpoint::from_shared(uri).unwrap().connect_lazy()
}

fn retry() -> RetryLayer {
    brisk_retry().with_classifier(TonicClassifier::new())
}

/// The standard stack around a channel, for a generated client.
fn stacked(
    stack: Stack<PerOrigin, GrpcStatusLayer>,
    uri: String,
) -> HealthClient<GrpcStatus<Courteous<Channel>>> {
    HealthClient::new(stack.build().unwrap().layer(channel(uri)))
}

/// The stack for gRPC, with short backoffs.
fn grpc() -> Stack<PerOrigin, GrpcStatusLayer> {
    Stack::grpc().with_retry(brisk_retry())
}

/// A call that may be made twice, as it only reads.
fn reading() -> tonic::Request<HealthCheckRequest> {
    let mut request = tonic::Request::new(named("reads"));
    request.extensions_mut().insert(Idempotent(true));
    request
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

fn attempts(status: &Status) -> Option<u32> {
    Some(find_cause::<Retried>(status)?.info().attempts())
}

/// A health service from tonic that does what it is told.
struct Told<F>(F, AtomicU32);

#[tonic::async_trait]
impl<F> Health for Told<F>
where
    F: Fn(u32, tonic::Request<HealthCheckRequest>) -> Result<(), Status> + Send + Sync + 'static,
{
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        (self.0)(self.1.fetch_add(1, Ordering::SeqCst) + 1, request)?;
        Ok(Response::new(serving()))
    }

    async fn watch(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        (self.0)(self.1.fetch_add(1, Ordering::SeqCst) + 1, request)?;
        // One message, and then none for ever.
        let messages = stream::iter([Ok(serving())]).chain(stream::pending());
        Ok(Response::new(messages.boxed()))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse {
        status: ServingStatus::Serving.into(),
    }
}

/// A server from tonic, which ends with the test's runtime.
async fn told<F>(answer: F) -> String
where
    F: Fn(u32, tonic::Request<HealthCheckRequest>) -> Result<(), Status> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let health = HealthServer::new(Told(answer, AtomicU32::new(0)));
    let server = tonic::transport::Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    uri
}

#[tokio::test]
async fn a_lone_unavailable_is_sent_again_if_the_call_is_idempotent() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let uri = told(move |_, request| {
        count.fetch_add(1, Ordering::SeqCst);
        let tried = request.metadata().get("grpc-previous-rpc-attempts");
        match (request.get_ref().service.as_str(), tried) {
            ("reads", Some(tried)) if tried == "2" => Ok(()),
            _ => Err(Status::unavailable("try later")),
        }
    })
    .await;
    let mut client = stacked(grpc(), uri.clone());

    // By an extension of the one call.
    let response = client.check(reading()).await.unwrap();
    assert_eq!(response.get_ref().status(), ServingStatus::Serving);
    assert_eq!(calls.swap(0, Ordering::SeqCst), 3);

    // By the layer, for all calls of a method.
    let by_path =
        brisk_retry().with_idempotent(|request| Some(request.uri().path().ends_with("/Check")));
    let mut by_path = stacked(Stack::grpc().with_retry(by_path), uri.clone());
    by_path.check(named("reads")).await.unwrap();
    assert_eq!(calls.swap(0, Ordering::SeqCst), 3);

    // By the method's name, or by its service's name. What the caller says of a single call comes
    // first.
    for name in ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/*"] {
        let by_name = grpc().with_idempotent_methods([name]).unwrap();
        let mut by_name = stacked(by_name, uri.clone());
        let response = by_name.check(named("reads")).await.unwrap();
        let info = response.extensions().get::<RetryInfo>().unwrap();
        assert_eq!(info.attempts(), 3);
        assert_eq!(calls.swap(0, Ordering::SeqCst), 3);
        let mut once = reading();
        once.extensions_mut().insert(Idempotent(false));
        by_name.check(once).await.unwrap_err();
        assert_eq!(calls.swap(0, Ordering::SeqCst), 1);
    }
    let another = ["/grpc.health.v1.Health/Watch", "/grpc.health.v1/*"];
    let another = grpc().with_idempotent_methods(another).unwrap();
    stacked(another, uri)
        .check(named("reads"))
        .await
        .unwrap_err();
    assert_eq!(calls.swap(0, Ordering::SeqCst), 1);

    // Not at all.
    let status = client.check(named("writes")).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "try later")
    );
    assert_eq!(calls.swap(0, Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_servers_pushback_is_obeyed() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let uri = told(move |number, request| {
        count.store(number, Ordering::SeqCst);
        let mut status = Status::unavailable("not now");
        let pushback = match (number, request.get_ref().service.as_str()) {
            (1, _) => "400",
            (_, "never") => "-1",
            _ => return Ok(()),
        };
        let metadata = status.metadata_mut();
        metadata.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
        Err(status)
    })
    .await;
    let mut client = stacked(grpc(), uri);

    let start = Instant::now();
    client.check(reading()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(calls.load(Ordering::SeqCst), 2);

    let mut never = reading();
    never.get_mut().service = "never".to_owned();
    let status = client.check(never).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_time_that_the_server_is_given_shrinks_with_each_attempt() {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let uri = told(move |_, request| {
        let timeout = request.metadata().get("grpc-timeout").unwrap().to_str();
        sender.send(timeout.unwrap().to_owned()).unwrap();
        Err(Status::unavailable("always"))
    })
    .await;
    let stack = grpc()
        .with_total_timeout(Duration::from_secs(20))
        .with_attempt_timeout(Duration::from_secs(20));
    let status = stacked(stack, uri).check(reading()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);

    let mut stated = Vec::new();
    while let Ok(timeout) = seen.try_recv() {
        let micros: u64 = timeout.strip_suffix('u').unwrap().parse().unwrap();
        stated.push(Duration::from_micros(micros));
    }
    assert_eq!(stated.len(), 3);
    // 10 ms of backoff before each further attempt.
    let pause = Duration::from_millis(10);
    assert!(stated[0] <= Duration::from_secs(20));
    assert!(stated[1] + pause <= stated[0] && stated[2] + pause <= stated[1]);
}

#[tokio::test]
async fn a_total_timeout_of_the_standard_stack_is_deadline_exceeded() {
    let server = Server::start(|_, _| Reply::Hang).await;
    let stack = Stack::grpc()
        .with_total_timeout(Duration::from_millis(300))
        .with_attempt_timeout(Duration::from_millis(300));
    let mut client = stacked(stack, server.uri(""));
    // In its own task, as in a server.
    let call = tokio::spawn(async move { client.check(reading()).await });
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    // The channel was told, and may be the first to notice.
    assert!(courteous::Error::new(status).is_timeout());
    // On a busy machine the time may run out before the request has been sent.
    assert!(server.requests() <= 1);
}

#[tokio::test]
async fn a_total_timeout_in_the_middle_of_a_stream_is_deadline_exceeded_and_frees_its_permit() {
    let uri = told(|_, _| Ok(())).await;
    let limiter = Limiter::new(1).unwrap();
    let client = ServiceBuilder::new()
        .layer(GrpcStatusLayer::new())
        // Long enough for all of the calls, also on a busy machine; the stream goes on.
        .total_timeout(Duration::from_secs(3))
        .retry(retry())
        .concurrency_limit(ConcurrencyLimitLayer::from(limiter.clone()).fail_fast())
        .attempt_timeout(Duration::from_secs(10))
        .service(channel(uri));

    let mut client = HealthClient::new(client);
    let mut stream = client.watch(named("")).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap(), Some(serving()));
    assert_eq!(limiter.in_flight(), 1);
    let status = client.check(reading()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(find_cause::<Rejected>(&status).is_some());

    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let elapsed = find_cause::<Elapsed>(&status).unwrap();
    assert_eq!(elapsed.scope(), Scope::Total);
    drop(stream);
    assert_eq!(limiter.in_flight(), 0);
    client.check(reading()).await.unwrap();
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_though_the_call_is_not_idempotent() {
    let server = Server::start(|number, _| match number {
        1 => Reply::RefuseStream,
        _ => Reply::grpc_message(SERVING),
    })
    .await;
    let mut client = stacked(grpc(), server.uri(""));
    let response = client.check(named("writes")).await.unwrap();
    assert_eq!(response.get_ref().status(), ServingStatus::Serving);

    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body, seen[1].body);
    assert!(seen[0].body.ends_with(b"writes"));
}

#[tokio::test]
async fn a_stream_above_the_last_of_a_goaway_is_sent_again_though_the_call_is_not_idempotent() {
    let server = RawServer::going_away(0).await;
    let mut client = stacked(grpc(), server.uri(""));
    let status = client.check(named("writes")).await.unwrap_err();
    assert_eq!(attempts(&status), Some(3));
    assert!(find_cause::<h2::Error>(&status).unwrap().is_go_away());
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn a_stream_that_a_goaway_covers_is_sent_again_only_if_the_call_is_idempotent() {
    let server = RawServer::going_away(1).await;
    let mut client = stacked(grpc(), server.uri(""));
    let status = client.check(named("writes")).await.unwrap_err();
    assert_eq!((attempts(&status), server.requests()), (Some(1), 1));
    let status = client.check(reading()).await.unwrap_err();
    assert_eq!((attempts(&status), server.requests()), (Some(3), 1 + 3));
}

#[tokio::test]
async fn a_call_that_was_never_sent_is_sent_again() {
    let (_socket, address) = nobody_listens();
    let uri = format!("http://{address}");
    let mut client = stacked(grpc(), uri);
    let status = client.check(named("writes")).await.unwrap_err();
    assert_eq!(attempts(&status), Some(3));
}

#[tokio::test]
async fn a_status_says_that_the_retry_budget_was_spent() {
    let uri = told(|_, _| {
        let details = bytes::Bytes::from_static(b"details");
        let mut status = Status::with_details(Code::Unavailable, "try later", details);
        let metadata = status.metadata_mut();
        metadata.insert("x-trace", "7".parse().unwrap());
        Err(status)
    })
    .await;
    let poor = brisk_retry().with_budget(Budget::builder().start(0).build().unwrap());
    let mut client = stacked(Stack::grpc().with_retry(poor), uri);
    let status = client.check(reading()).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message(), status.details()),
        (Code::Unavailable, "try later", &b"details"[..])
    );
    assert_eq!(status.metadata().get("x-trace").unwrap(), "7");
    assert!(status.to_string().contains("BudgetExhausted"), "{status}");
    let error = courteous::Error::new(status);
    assert_eq!(error.attempts(), Some(1));
    assert_eq!(error.stop_reason(), Some(StopReason::BudgetExhausted));
}

#[tokio::test]
async fn the_message_of_a_status_that_no_server_has_made_says_why_the_call_ended() {
    let (_socket, address) = nobody_listens();
    let mut client = stacked(grpc(), format!("http://{address}"));
    let status = client.check(named("writes")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let why = format!(
        "; gave up after 3 attempts: {}",
        StopReason::AttemptsExhausted
    );
    assert!(status.message().ends_with(&why), "{status}");
}

#[tokio::test]
async fn a_client_that_was_closed_is_unavailable() {
    let uri = told(|_, _| Ok(())).await;
    let service = Stack::grpc().build().unwrap().layer(channel(uri));
    let mut client = HealthClient::new(service.clone());
    client.check(named("")).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    service.get_ref().close(deadline).await.unwrap();
    let status = client.check(named("")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(find_cause::<Rejected>(&status).is_some());
}

#[tokio::test]
async fn a_classifier_of_the_callers_stays() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let uri = told(move |number, _| {
        count.store(number, Ordering::SeqCst);
        Err(Status::unavailable("always"))
    })
    .await;
    let never = brisk_retry().with_classifier(|_: Outcome<'_>| Verdict::Permanent);
    let mut client = stacked(Stack::grpc().with_retry(never), uri);
    let status = client.check(reading()).await.unwrap_err();
    assert_eq!(
        courteous::Error::new(status).stop_reason(),
        Some(StopReason::Permanent)
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stream_is_told_no_deadline_and_outlives_the_total_timeout_where_that_is_asked_for() {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let uri = told(move |_, request| {
        let timeout = request.metadata().get("grpc-timeout");
        sender.send(timeout.is_some()).unwrap();
        Ok(())
    })
    .await;
    let short = |stack: Stack<PerOrigin, GrpcStatusLayer>| {
        let total = Duration::from_millis(400);
        stack.with_total_timeout(total).with_attempt_timeout(total)
    };
    let mut whole = stacked(short(grpc()), uri.clone());
    let mut streaming = stacked(short(grpc()).streaming(), uri);

    let mut ended = whole.watch(named("")).await.unwrap().into_inner();
    assert_eq!(seen.recv().await, Some(true));
    let mut request = tonic::Request::new(named(""));
    request.extensions_mut().insert(LongLived);
    let mut by_request = whole.watch(request).await.unwrap().into_inner();
    assert_eq!(seen.recv().await, Some(false));
    let mut by_stack = streaming.watch(named("")).await.unwrap().into_inner();
    assert_eq!(seen.recv().await, Some(false));

    assert_eq!(ended.message().await.unwrap(), Some(serving()));
    let status = ended.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    for stream in [&mut by_request, &mut by_stack] {
        assert_eq!(stream.message().await.unwrap(), Some(serving()));
        let more = tokio::time::timeout(Duration::from_millis(100), stream.message());
        assert!(more.await.is_err(), "still open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_client_is_spawned_cloned_and_intercepted() {
    struct Greeting {
        client: HealthClient<GrpcStatus<Courteous<Channel>>>,
    }

    let uri = told(|_, request| match request.metadata().get("authorization") {
        Some(_) => Ok(()),
        None => Err(Status::unauthenticated("who?")),
    })
    .await;
    let layer = Stack::grpc().build().unwrap();
    let bearer = |mut request: tonic::Request<()>| {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", "Bearer token".parse().unwrap());
        Ok(request)
    };
    let client = layer.layer(channel(uri.clone()));
    let mut with_token = HealthClient::with_interceptor(client, bearer);
    let call = tokio::spawn(async move { with_token.check(named("")).await });
    call.await.unwrap().unwrap();

    let greeting = Greeting {
        client: HealthClient::new(layer.layer(channel(uri))),
    };
    let mut client = greeting.client.clone();
    let call = tokio::spawn(async move {
        let mut updates = client.watch(named("")).await?.into_inner();
        updates.message().await
    });
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(find_cause::<Retried>(&status).is_none(), "it was answered");
}

#[tokio::test]
async fn one_layer_stands_around_a_router_and_around_a_channel() {
    fn both(layer: &StackLayer, uri: String) -> (Courteous<Router>, Courteous<Channel>) {
        let router = Router::new().route("/", get(|| async { "hello" }));
        (layer.layer(router), layer.layer(channel(uri)))
    }

    let uri = told(|_, _| Ok(())).await;
    let layer = Stack::new().with_retry(retry()).build().unwrap();
    let (router, channel) = both(&layer, uri);

    let request = Request::get("/").body(axum::body::Body::empty()).unwrap();
    assert_eq!(text(router.oneshot(request).await.unwrap()).await, "hello");
    let mut client = HealthClient::new(channel);
    let response = client.check(named("")).await.unwrap();
    assert_eq!(response.into_inner(), serving());
}

/// The time that a `grpc-timeout` in microseconds or milliseconds states.
fn stated(timeout: &http::HeaderValue) -> Duration {
    let text = timeout.to_str().unwrap();
    let number = |unit| text.strip_suffix(unit)?.parse().ok();
    let micros = number("u").map(Duration::from_micros);
    micros
        .or_else(|| number("m").map(Duration::from_millis))
        .unwrap()
}

/// A channel to a server that gives up after 9 tenths of the time that it was told, and says so, as
/// gateways do.
fn impatient(
    gives_up: u32,
    calls: &Arc<AtomicU32>,
) -> impl tower::Service<
    Request<tonic::body::Body>,
    Response = http::Response<tonic::body::Body>,
    Error = std::io::Error,
    Future: Send,
> + Clone
+ use<> {
    let calls = Arc::clone(calls);
    tower::service_fn(move |request: Request<tonic::body::Body>| {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        let told = stated(&request.headers()["grpc-timeout"]);
        async move {
            let late = call <= gives_up;
            if late {
                tokio::time::sleep(told * 9 / 10).await;
            }
            let response = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", if late { "4" } else { "0" });
            Ok(response.body(tonic::body::Body::empty()).unwrap())
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_server_that_gives_up_on_an_attempt_does_not_end_the_call() {
    for (total, gives_up, expected) in [
        (5, 1, (Code::Internal, 2)),         // answered, without a message
        (5, 9, (Code::DeadlineExceeded, 3)), // each attempt
        (1, 9, (Code::DeadlineExceeded, 1)), // the server was told all of the call's time
    ] {
        let calls = Arc::new(AtomicU32::new(0));
        let client = ServiceBuilder::new()
            .layer(GrpcStatusLayer::new())
            .total_timeout(Duration::from_secs(total))
            .retry(retry())
            .attempt_timeout(AttemptTimeoutLayer::new(Duration::from_secs(1)).with_grpc_timeout())
            .service(impatient(gives_up, &calls));
        let status = HealthClient::new(client).check(reading()).await;
        let code = status.unwrap_err().code();
        assert_eq!((code, calls.load(Ordering::SeqCst)), expected, "{total} s");
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_tonic_request_is_that_of_the_whole_call() {
    let calls = Arc::new(AtomicU32::new(0));
    let client = ServiceBuilder::new()
        .layer(GrpcStatusLayer::new())
        .total_timeout(Duration::from_secs(30))
        .retry(retry())
        .attempt_timeout(AttemptTimeoutLayer::new(Duration::from_secs(10)).with_grpc_timeout())
        .service(impatient(9, &calls));
    let start = Instant::now();
    let mut request = reading();
    request.set_timeout(Duration::from_secs(2));
    let status = HealthClient::new(client).check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    // The server was told 2 s and gave up after 1.8 s. No time is left to tell another attempt.
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert!(start.elapsed() <= Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_not_matter_whether_client_or_server_notices_first_that_an_attempt_is_too_late() {
    let uri = slow_at_first().await;
    let client = ServiceBuilder::new()
        .layer(GrpcStatusLayer::new())
        .total_timeout(Duration::from_secs(60))
        .retry(retry())
        .attempt_timeout(AttemptTimeoutLayer::new(Duration::from_millis(200)).with_grpc_timeout())
        .service(channel(uri));
    let calls = (0..40).map(|_| {
        let mut client = HealthClient::new(client.clone());
        tokio::spawn(async move { client.check(reading()).await })
    });
    for result in futures_util::future::join_all(calls).await {
        result.unwrap().unwrap();
    }
}

/// A server from tonic that answers later attempts at once, and never answers first attempts.
async fn slow_at_first() -> String {
    struct Slow;

    #[tonic::async_trait]
    impl Health for Slow {
        type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

        async fn check(
            &self,
            request: tonic::Request<HealthCheckRequest>,
        ) -> Result<Response<HealthCheckResponse>, Status> {
            match request.metadata().get("grpc-previous-rpc-attempts") {
                Some(_) => Ok(Response::new(serving())),
                None => std::future::pending().await,
            }
        }

        async fn watch(
            &self,
            _: tonic::Request<HealthCheckRequest>,
        ) -> Result<Response<Self::WatchStream>, Status> {
            Ok(Response::new(stream::empty().boxed()))
        }
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(HealthServer::new(Slow));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    uri
}

#[test]
fn what_tonic_calls_a_timeout_is_a_timeout() {
    let is_timeout = |error: Status| courteous::Error::new(error).is_timeout();
    assert!(is_timeout(Status::deadline_exceeded("too late")));
    assert!(is_timeout(Status::from_error(Box::new(
        tonic::TimeoutExpired(())
    ))));
    assert!(courteous::Error::new(tonic::TimeoutExpired(())).is_timeout());
    assert!(!is_timeout(Status::cancelled("by the caller")));
    assert!(!is_timeout(Status::unavailable("try later")));
}
