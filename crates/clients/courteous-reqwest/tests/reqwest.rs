//! What the service promises, over loopback sockets.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fmt,
    future::{Ready, ready},
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use courteous_core::CallTimeout;
use courteous_core::{
    BoxError, Classified, Effect, Elapsed, Fault, Outcome, Scope, Verdict, find_cause,
};
use courteous_reqwest::{ReqwestService, into_http};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use reqwest::{Body, Client, ClientBuilder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{Service, ServiceExt, layer::layer_fn};

const NEVER_SENT: Verdict = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
const MAYBE_PROCESSED: Verdict = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads a request with a body of `body` bytes.
async fn read_request(stream: &mut TcpStream, body: usize) -> String {
    let mut request = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        let text = String::from_utf8(request.clone()).unwrap();
        if let Some((_, got)) = text.split_once("\r\n\r\n")
            && got.len() >= body
        {
            return text;
        }
    }
}

/// A server that gives each of its connections one answer; returns the requests that it saw.
async fn serve(answers: &'static [&'static str]) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let (listener, address) = listen().await;
    let server = async move {
        let mut requests = String::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            requests += &read_request(&mut stream, 0).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        requests
    };
    (address, tokio::spawn(server))
}

/// A client as the crate's page recommends it.
fn builder() -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
}

fn service() -> ReqwestService {
    builder().build().unwrap().into()
}

async fn get(
    service: ReqwestService,
    uri: impl fmt::Display,
) -> Result<Response<Body>, Classified> {
    let request = Request::get(uri.to_string()).body(Body::default()).unwrap();
    service.oneshot(request).await
}

async fn verdict(service: ReqwestService, uri: impl fmt::Display) -> Verdict {
    let error = get(service, uri).await.unwrap_err();
    assert!(find_cause::<reqwest::Error>(&error).is_some());
    error.verdict()
}

#[tokio::test]
async fn a_request_and_its_response_come_through_whole() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream, 5).await;
        let answer = "HTTP/1.1 201 Created\r\nx-answer: yes\r\ncontent-length: 4\r\n\r\ndone";
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}/charges?a=1"))
        .header("idempotency-key", "k1")
        .body("hello".into()) // nothing to spell out
        .unwrap();
    let response = service().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-answer"], "yes");
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "done"
    );

    let request = server.await.unwrap();
    assert!(request.starts_with("POST /charges?a=1 HTTP/1.1\r\n"));
    assert!(request.contains("idempotency-key: k1\r\n"));
    assert!(request.contains("content-length: 5\r\n"));
    assert!(request.ends_with("\r\n\r\nhello"));
}

#[tokio::test]
async fn any_body_can_be_wrapped_and_keeps_its_length() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream, 5).await;
        let answer = "HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    let body = Body::wrap(Full::<Bytes>::from("hello"));
    let request = Request::put(format!("http://{address}/"))
        .body(body)
        .unwrap();
    let response = service().oneshot(request).await.unwrap();
    let head = Outcome::response(&response).result();
    assert!(head.is_ok_and(|head| head.is_end_stream()));
    assert!(server.await.unwrap().contains("content-length: 5\r\n"));
}

#[tokio::test]
async fn a_response_can_be_turned_back_into_reqwests_with_its_url() {
    let (address, _server) = serve(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]).await;
    let uri = format!("http://{address}/path");
    let response = reqwest::Response::from(get(service(), &uri).await.unwrap());
    assert_eq!(response.url().as_str(), uri);
    assert_eq!(response.bytes().await.unwrap(), "ok");
}

#[tokio::test]
async fn a_refused_connection_was_never_sent_and_may_pass() {
    let (listener, address) = listen().await;
    drop(listener);
    assert_eq!(
        verdict(service(), format!("http://{address}/")).await,
        NEVER_SENT
    );
}

#[tokio::test]
async fn a_request_that_the_client_cannot_send_is_unsendable() {
    for uri in ["/relative", "ftp://127.0.0.1/", "127.0.0.1:80"] {
        assert_eq!(verdict(service(), uri).await, Verdict::Unsendable, "{uri}");
    }
}

#[tokio::test]
async fn https_without_tls_is_unsendable() {
    // The listener accepts, so that this is no refused connection.
    let (_listener, address) = listen().await;
    let verdict = verdict(service(), format!("https://{address}/")).await;
    assert_eq!(verdict, Verdict::Unsendable);
}

#[tokio::test]
async fn an_end_before_the_response_may_have_been_processed() {
    let (address, _server) = serve(&[""]).await;
    assert_eq!(
        verdict(service(), format!("http://{address}/")).await,
        MAYBE_PROCESSED
    );
}

#[tokio::test]
async fn a_reset_before_the_response_may_have_been_processed() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream, 0).await;
        stream.set_zero_linger().unwrap();
    });
    let error = get(service(), format!("http://{address}/"))
        .await
        .unwrap_err();
    assert_eq!(error.verdict(), MAYBE_PROCESSED);
    let cause = find_cause::<io::Error>(&error).unwrap();
    assert_eq!(cause.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_reqwests_may_have_been_processed() {
    let (_listener, address) = listen().await;
    let client = builder().timeout(Duration::from_secs(3)).build().unwrap();
    let error = get(client.into(), format!("http://{address}/"))
        .await
        .unwrap_err();
    assert_eq!(error.verdict(), MAYBE_PROCESSED);
    assert!(find_cause::<reqwest::Error>(&error).unwrap().is_timeout());
}

/// A connector that fails with an error of the test's choice.
#[derive(Clone)]
struct Fails<S>(S, Arc<dyn Fn() -> BoxError + Send + Sync>);

impl<R, S: Service<R>> Service<R> for Fails<S> {
    type Response = S::Response;
    type Error = BoxError;
    type Future = Ready<Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        ready(Err(self.1()))
    }
}

async fn verdict_on_connect<E>(error: impl Fn() -> E + Send + Sync + 'static) -> Verdict
where
    E: Into<BoxError>,
{
    let error = Arc::new(move || error().into());
    let layer = layer_fn(move |inner| Fails(inner, error.clone()));
    let client = builder().connector_layer(layer).build().unwrap();
    verdict(client.into(), "http://127.0.0.1/").await
}

#[tokio::test]
async fn an_error_of_connecting_was_never_sent_and_passes_unless_that_cannot_change() {
    for kind in [
        ErrorKind::ConnectionRefused,
        ErrorKind::ConnectionReset,
        ErrorKind::HostUnreachable,
        ErrorKind::TimedOut,
        ErrorKind::UnexpectedEof,
    ] {
        let verdict = verdict_on_connect(move || io::Error::from(kind)).await;
        assert_eq!(verdict, NEVER_SENT, "{kind}");
    }
    // What is not known is not taken for permanent.
    let cut = || io::Error::other(io::Error::from(ErrorKind::UnexpectedEof));
    assert_eq!(verdict_on_connect(cut).await, NEVER_SENT);
    assert_eq!(verdict_on_connect(|| "no proxy there").await, NEVER_SENT);
    let verdict = verdict_on_connect(|| io::Error::from(ErrorKind::InvalidInput)).await;
    assert_eq!(verdict, Verdict::Unsendable);
}

#[tokio::test(start_paused = true)]
async fn a_connect_timeout_was_never_sent_and_may_pass() {
    /// A connector that never connects.
    #[derive(Clone)]
    struct Hangs<S>(S);
    impl<R, S: Service<R>> Service<R> for Hangs<S> {
        type Response = S::Response;
        type Error = BoxError;
        type Future = std::future::Pending<Result<S::Response, BoxError>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: R) -> Self::Future {
            std::future::pending()
        }
    }
    let client = builder()
        .connect_timeout(Duration::from_secs(1))
        .connector_layer(layer_fn(Hangs))
        .build()
        .unwrap();
    assert_eq!(
        verdict(client.into(), "http://127.0.0.1/").await,
        NEVER_SENT
    );
}

#[tokio::test]
async fn a_body_that_fails_is_the_callers_fault() {
    struct Fails;
    impl http_body::Body for Fails {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
            Poll::Ready(Some(Err(io::Error::other("the disk is gone"))))
        }
    }

    let (_listener, address) = listen().await;
    let body = Body::wrap(Fails);
    let request = Request::post(format!("http://{address}/"))
        .body(body)
        .unwrap();
    let error = service().oneshot(request).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::Permanent);
}

#[test]
fn the_service_and_its_future_can_travel() {
    fn check<T: Send + Sync + Clone + fmt::Debug + 'static>(_: &T) {}
    fn check_future<T: Send + 'static>(_: &T) {}
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let _guard = runtime.as_ref().unwrap().enter();
    let mut service = service();
    check(&service);
    check_future(&service.call(Request::new(Body::default())));
    let _: &Client = service.get_ref();
    let _: Client = service.into_inner();
}

#[cfg(feature = "h2")]
mod h2 {
    use super::*;

    const REFUSED: Verdict = Verdict::transient(Effect::NeverSent, Fault::Server);

    async fn verdict_of(address: SocketAddr) -> (Verdict, Option<::h2::Reason>) {
        let client = builder().http2_prior_knowledge().build().unwrap();
        let error = get(client.into(), format!("http://{address}/"))
            .await
            .unwrap_err();
        let reason = find_cause::<::h2::Error>(&error).and_then(::h2::Error::reason);
        (error.verdict(), reason)
    }

    /// Resets the first stream of the first connection.
    async fn resets(reason: ::h2::Reason) -> SocketAddr {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = ::h2::server::handshake(stream).await.unwrap();
            let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
            respond.send_reset(reason);
            while connection.accept().await.is_some() {}
        });
        address
    }

    /// Answers the first request by a GOAWAY that covers the streams up to `last`, and closes.
    async fn goes_away(last: u8) -> SocketAddr {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            stream
                .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
                .await
                .unwrap(); // SETTINGS
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await.unwrap();
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                stream.read_exact(&mut payload).await.unwrap();
                if head[3] == 1 {
                    break; // HEADERS
                }
            }
            let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0];
            stream.write_all(&go_away).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        address
    }

    #[tokio::test]
    async fn a_refused_stream_was_never_processed() {
        let server = resets(::h2::Reason::REFUSED_STREAM).await;
        let (verdict, reason) = verdict_of(server).await;
        assert_eq!(verdict, REFUSED);
        assert_eq!(reason, Some(::h2::Reason::REFUSED_STREAM));
    }

    #[tokio::test]
    async fn any_other_reset_may_have_been_processed() {
        let server = resets(::h2::Reason::INTERNAL_ERROR).await;
        let (verdict, reason) = verdict_of(server).await;
        assert_eq!(verdict, MAYBE_PROCESSED);
        assert_eq!(reason, Some(::h2::Reason::INTERNAL_ERROR));
    }

    #[tokio::test]
    async fn a_stream_above_the_last_of_a_goaway_was_never_processed() {
        let (verdict, reason) = verdict_of(goes_away(0).await).await;
        assert_eq!(verdict, REFUSED);
        assert_eq!(reason, Some(::h2::Reason::NO_ERROR));
    }

    #[tokio::test]
    async fn a_stream_that_a_goaway_covers_may_have_been_processed() {
        let (verdict, _) = verdict_of(goes_away(1).await).await;
        assert_eq!(verdict, MAYBE_PROCESSED);
    }
}

/// A server that takes requests, and never answers.
async fn silent() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut streams = Vec::new();
        loop {
            streams.push(listener.accept().await.unwrap());
        }
    });
    address
}

#[tokio::test]
async fn a_request_whose_own_timeout_has_passed_is_a_call_whose_time_is_over() {
    let uri = format!("http://{}/", silent().await);
    let timeout = Duration::from_millis(50);
    let client = builder().build().unwrap();
    let request = client.get(&uri).timeout(timeout).build().unwrap();
    let request = Request::try_from(request).unwrap();
    let error = ReqwestService::from(client).oneshot(request).await;
    let error = error.unwrap_err();
    assert_eq!(error.verdict(), MAYBE_PROCESSED);
    let elapsed = Elapsed::new(timeout, Scope::Total);
    assert_eq!(find_cause::<Elapsed>(&error), Some(&elapsed));

    // The client's own timeout is one attempt's, also where the request has a longer one.
    let client = builder().timeout(timeout).build().unwrap();
    let service = ReqwestService::from(client.clone());
    assert_eq!(verdict(service, &uri).await, MAYBE_PROCESSED);
    let client = builder().read_timeout(timeout).build().unwrap();
    let request = client.get(&uri).timeout(100 * timeout).build().unwrap();
    let request = Request::try_from(request).unwrap();
    let error = ReqwestService::from(client).oneshot(request).await;
    let error = error.unwrap_err();
    assert!(find_cause::<Elapsed>(&error).is_none());
    assert!(find_cause::<reqwest::Error>(&error).unwrap().is_timeout());
}

#[test]
fn a_requests_own_timeout_becomes_that_of_the_call() {
    let client = builder().build().unwrap();
    let request = || {
        client
            .post("http://api.example/a?b=c")
            .header("x-a", "1")
            .body("text")
    };
    let timeout = Duration::from_secs(5);
    let http = into_http(request().timeout(timeout).build().unwrap()).unwrap();
    assert_eq!(http.extensions().get(), Some(&CallTimeout(timeout)));
    assert_eq!(http.method(), Method::POST);
    assert_eq!(http.uri(), "http://api.example/a?b=c");
    assert_eq!(http.headers()["x-a"], "1");
    assert_eq!(http.body().as_bytes(), Some(&b"text"[..]));
    // It is not given to each attempt, too.
    let again = reqwest::Request::try_from(http).unwrap();
    assert_eq!(again.timeout(), None);

    let without = into_http(request().build().unwrap()).unwrap();
    assert!(without.extensions().get::<CallTimeout>().is_none());
}
