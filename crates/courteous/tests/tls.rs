//! TLS handshakes that fail, and what a call makes of them: over hyper-rustls, on loopback sockets.
#![cfg(feature = "hyper-util")]
#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use courteous::{AnyBody, Backoff, Budget, Jitter, RetryLayer, Stack, StopReason};
use http::{Method, Request};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower::ServiceExt;

/// How a server answers the first message of a handshake.
#[derive(Clone, Copy, Debug)]
enum Deed {
    End,
    Reset,
    Alert(u8),
    PlainHttp,
}

/// Such a server, and how many connections it has had.
async fn serve(deed: Deed) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = match deed {
                Deed::End => Ok(()),
                Deed::Reset => stream.set_zero_linger(),
                Deed::Alert(code) => stream.write_all(&[21, 3, 3, 0, 2, 2, code]).await,
                Deed::PlainHttp => {
                    let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
                    stream.write_all(answer).await
                }
            };
        }
    });
    (address, connections)
}

/// How many connections a call makes, and why it ends.
async fn call(deed: Deed, method: Method) -> (usize, Option<StopReason>) {
    let (address, connections) = serve(deed).await;
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_only()
        .enable_http1()
        .build();
    let client: Client<_, AnyBody> = Client::builder(TokioExecutor::new()).build(connector);
    // It loses no time, and counts no costs.
    let retry = RetryLayer::new()
        .with_backoff(Backoff::constant(Duration::from_millis(10)).with_jitter(Jitter::None))
        .with_budget(Budget::unlimited());
    let stack = Stack::new().with_retry(retry);
    let client = stack.build().unwrap().layer(client);
    let request = Request::builder()
        .method(method)
        .uri(format!("https://localhost:{}/", address.port()))
        .body(AnyBody::from("x"))
        .unwrap();
    let error = client.oneshot(request).await.unwrap_err();
    (connections.load(Ordering::SeqCst), error.stop_reason())
}

#[tokio::test]
async fn a_handshake_that_is_cut_off_is_tried_again_whatever_the_method() {
    // The alert is internal_error.
    for deed in [Deed::End, Deed::Reset, Deed::Alert(80)] {
        for method in [Method::GET, Method::POST] {
            let made = call(deed, method.clone()).await;
            let all = (3, Some(StopReason::AttemptsExhausted));
            assert_eq!(made, all, "{deed:?}, {method}");
        }
    }
}

#[tokio::test]
async fn what_the_two_sides_cannot_agree_on_is_tried_once() {
    // The alerts are handshake_failure, protocol_version and unknown_ca.
    let alerts = [40, 70, 48].map(Deed::Alert);
    for deed in alerts.into_iter().chain([Deed::PlainHttp]) {
        let made = call(deed, Method::GET).await;
        assert_eq!(made, (1, Some(StopReason::Permanent)), "{deed:?}");
    }
}

#[tokio::test]
async fn a_scheme_that_the_connector_does_not_take_is_tried_once() {
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_only()
        .enable_http1()
        .build();
    let client: Client<_, AnyBody> = Client::builder(TokioExecutor::new()).build(connector);
    let client = Stack::new().build().unwrap().layer(client);
    let request = Request::get("http://localhost/").body(AnyBody::empty());
    let error = client.oneshot(request.unwrap()).await.unwrap_err();
    assert_eq!(error.attempts(), Some(1));
    assert_eq!(error.stop_reason(), Some(StopReason::Permanent));
}
