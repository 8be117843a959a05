//! What generated clients and retries see, over loopback sockets.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    error::Error,
    fmt,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use courteous_core::{
    BoxError, Classify, Effect, Elapsed, Fault, Outcome, RejectReason, Rejected, Scope, Verdict,
    find_cause,
};
use courteous_retry::{RetryInfo, RetryLayer};
use courteous_tonic::{GrpcStatus, GrpcStatusLayer, TonicClassifier};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::{io::AsyncReadExt, net::TcpListener};
use tonic::{
    Code, TimeoutExpired,
    body::Body,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

/// A health service that serves, and a channel to it.
async fn healthy() -> Channel {
    let (listener, address) = listen().await;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    channel(address)
}

fn check() -> HealthCheckRequest {
    HealthCheckRequest::default()
}

/// A client of a stack whose innermost service fails with `error`.
async fn status_of<E>(error: impl Fn() -> E + Clone + Send + 'static) -> tonic::Status
where
    E: Into<BoxError> + Send + 'static,
{
    let inner = service_fn(move |_: Request<Body>| {
        let error: BoxError = error().into();
        async move { Err::<Response<Body>, _>(error) }
    });
    let stack = ServiceBuilder::new()
        .layer(GrpcStatusLayer::new())
        .service(inner);
    HealthClient::new(stack).check(check()).await.unwrap_err()
}

#[tokio::test]
async fn a_call_that_succeeds_comes_through() {
    let stack = GrpcStatus::new(healthy().await);
    let answer = HealthClient::new(stack)
        .check(check())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn a_status_of_the_servers_comes_through() {
    let request = HealthCheckRequest {
        service: "nobody".into(),
    };
    let mut client = HealthClient::new(GrpcStatus::new(healthy().await));
    assert_eq!(
        client.check(request).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_generated_client_sees_deadline_exceeded() {
    let elapsed = Elapsed::new(Duration::from_secs(3), Scope::Total);
    let status = status_of(move || elapsed).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(find_cause::<Elapsed>(&status), Some(&elapsed));
}

#[tokio::test]
async fn a_generated_client_sees_resource_exhausted() {
    let rejected = Rejected::new(RejectReason::QueueFull);
    let status = status_of(move || rejected).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(find_cause::<Rejected>(&status), Some(&rejected));
}

#[tokio::test]
async fn without_the_layer_a_generated_client_knows_nothing() {
    let inner = service_fn(|_: Request<Body>| async {
        let error: BoxError = Elapsed::new(Duration::from_secs(3), Scope::Total).into();
        Err::<Response<Body>, _>(error)
    });
    let status = HealthClient::new(inner).check(check()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
}

#[tokio::test]
async fn a_readiness_error_becomes_a_status_too() {
    #[derive(Debug)]
    struct NotReady(Elapsed);
    impl fmt::Display for NotReady {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("not ready")
        }
    }
    impl Error for NotReady {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    struct Never;
    impl Service<Request<Body>> for Never {
        type Response = Response<Body>;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Response<Body>, BoxError>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            let elapsed = Elapsed::new(Duration::from_secs(3), Scope::Total);
            Poll::Ready(Err(NotReady(elapsed).into()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            unreachable!("it is never ready")
        }
    }
    let status = GrpcStatus::new(Never)
        .ready()
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(find_cause::<NotReady>(&status).is_some());
}

/// Gives the frames of `inner`, and then fails as a deadline does.
struct Overdue {
    inner: Body,
    frames: usize,
}

impl http_body::Body for Overdue {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.frames == 0 {
            let elapsed = Elapsed::new(Duration::from_secs(3), Scope::Total);
            return Poll::Ready(Some(Err(elapsed.into())));
        }
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.frames -= 1;
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }
}

#[tokio::test]
async fn a_deadline_in_the_middle_of_a_stream_is_deadline_exceeded() {
    let channel = healthy().await;
    let inner = channel.map_response(|response: Response<Body>| {
        response.map(|inner| Overdue { inner, frames: 1 })
    });
    let mut client = HealthClient::new(GrpcStatus::new(inner));
    let mut statuses = client.watch(check()).await.unwrap().into_inner();
    let first = statuses.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let status = statuses.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(find_cause::<Elapsed>(&status).is_some());
}

#[tokio::test]
async fn the_body_passes_its_hints_and_trailers() {
    let body = http_body_util::Full::<Bytes>::from("hello");
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    let inner = service_fn(move |_: Request<()>| {
        let trailers = std::future::ready(Some(Ok(trailers.clone())));
        let response = Response::new(body.clone().with_trailers(trailers));
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let response = GrpcStatus::new(inner)
        .oneshot(Request::new(()))
        .await
        .unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(5));
    assert!(!response.body().is_end_stream());
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), "hello");
}

// What a channel's errors tell.

/// The verdict on a bare call through a channel to `address`.
async fn verdict(address: SocketAddr) -> Verdict {
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"));
    let request = request.body(Body::empty()).unwrap();
    let error = channel(address).oneshot(request).await.unwrap_err();
    TonicClassifier::new().classify(Outcome::error(&error))
}

#[tokio::test]
async fn a_refused_connection_was_never_sent() {
    let (listener, address) = listen().await;
    drop(listener);
    let never_sent = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
    assert_eq!(verdict(address).await, never_sent);
}

/// Takes all requests, and answers none.
async fn silent() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut unanswered = Vec::new();
        while let Some(Ok(request)) = connection.accept().await {
            unanswered.push(request);
        }
    });
    address
}

/// A channel enforces the `grpc-timeout` of a request itself, and may be the first to notice that
/// the time is up.
#[tokio::test]
async fn the_channels_own_end_of_the_time_is_deadline_exceeded_too() {
    let mut client = HealthClient::new(GrpcStatus::new(channel(silent().await)));
    let mut request = tonic::Request::new(check());
    request.set_timeout(Duration::from_millis(10));
    let status = client.check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(find_cause::<TimeoutExpired>(&status).is_some());

    let endpoint = Endpoint::from_shared(format!("http://{}", silent().await)).unwrap();
    let channel = endpoint.timeout(Duration::from_millis(10)).connect_lazy();
    let status = HealthClient::new(GrpcStatus::new(channel))
        .check(check())
        .await;
    assert_eq!(status.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn the_channels_own_end_of_the_time_may_pass_and_may_have_been_processed() {
    let address = silent().await;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"));
    let request = request.header("grpc-timeout", "10m").body(Body::empty());
    let error = channel(address)
        .oneshot(request.unwrap())
        .await
        .unwrap_err();
    let unknown = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);
    let verdict = TonicClassifier::new().classify(Outcome::error(&error));
    assert_eq!(verdict, unknown);
}

/// Resets all streams.
async fn resets(reason: h2::Reason) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            respond.send_reset(reason);
        }
    });
    address
}

#[tokio::test]
async fn a_refused_stream_was_never_processed() {
    let address = resets(h2::Reason::REFUSED_STREAM).await;
    let refused = Verdict::transient(Effect::NeverSent, Fault::Server);
    assert_eq!(verdict(address).await, refused);
}

#[tokio::test]
async fn any_other_reset_may_have_been_processed() {
    let address = resets(h2::Reason::INTERNAL_ERROR).await;
    let unknown = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);
    assert_eq!(verdict(address).await, unknown);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_response_may_have_been_processed() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 256];
        let _ = stream.read(&mut request).await.unwrap();
    });
    let verdict = verdict(address).await;
    let effect = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);
    assert_eq!(verdict, effect);
}

/// Refuses the first stream, and answers all others that it serves.
async fn refuses_once() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut refused = false;
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            if !std::mem::replace(&mut refused, true) {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                continue;
            }
            let response = Response::builder().header("content-type", "application/grpc");
            let mut send = respond
                .send_response(response.body(()).unwrap(), false)
                .unwrap();
            tokio::spawn(async move {
                let mut body = request.into_body();
                let mut message = Vec::new();
                while let Some(data) = body.data().await {
                    message.extend_from_slice(&data.unwrap());
                }
                // A message without compression, of seven bytes: the field 1, of five bytes.
                assert_eq!(message, b"\0\0\0\0\x07\x0a\x05hello");
                // And one of two bytes: the field 1, SERVING.
                send.send_data(Bytes::from_static(b"\0\0\0\0\x02\x08\x01"), false)
                    .unwrap();
                let status = http::HeaderName::from_static("grpc-status");
                let ok = http::HeaderValue::from_static("0");
                send.send_trailers(http::HeaderMap::from_iter([(status, ok)]))
                    .unwrap();
            });
        }
    });
    address
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_stream_was_refused_is_sent_again_with_its_message() {
    let stack = ServiceBuilder::new()
        .layer(GrpcStatusLayer::new())
        .layer(RetryLayer::new().with_classifier(TonicClassifier::new()))
        .service(channel(refuses_once().await));
    let mut request = tonic::Request::new(HealthCheckRequest {
        service: "hello".into(),
    });
    // The key says that the message may be sent twice, and so is worth keeping.
    let key = "k1".parse().unwrap();
    request.metadata_mut().insert("idempotency-key", key);
    let response = HealthClient::new(stack).check(request).await.unwrap();
    let info = response.extensions().get::<RetryInfo>().unwrap();
    assert_eq!(info.attempts(), 2);
    assert_eq!(response.into_inner().status(), ServingStatus::Serving);
}
