//! TLS handshakes that fail, and what a call makes of them: over hyper-rustls, on loopback sockets.
#![cfg(feature = "hyper-util")]
#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    error,
    net::{SocketAddr, TcpListener as StdListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use courteous::{
    AnyBody, Stack,
    retry::{Backoff, Budget, Jitter, RetryLayer, StopReason},
};
use http::{Method, Request};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
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

/// A server with a certificate for `name` that is signed by itself alone, and how many connections it has had.
fn serve_tls(name: &str) -> (SocketAddr, Arc<AtomicUsize>, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = CertificateDer::from(cert);
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    // It ends with the process.
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Until the client's alert, which is an error.
            while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        }
    });
    (address, connections, certificate)
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_is_tried_once_and_the_error_names_it() {
    let causes = [
        (
            "localhost",
            false,
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "another.test",
            true,
            "certificate not valid for name \"localhost\"",
        ),
    ];
    for (name, trusted, cause) in causes {
        let (address, connections, certificate) = serve_tls(name);
        let mut roots = RootCertStore::empty();
        if trusted {
            roots.add(certificate).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .build();
        let client: Client<_, AnyBody> = Client::builder(TokioExecutor::new()).build(connector);
        let client = Stack::new().build().unwrap().layer(client);
        let request = Request::get(format!("https://localhost:{}/", address.port()));
        let request = request.body(AnyBody::empty()).unwrap();
        let error = client.oneshot(request).await.unwrap_err();
        assert_eq!(connections.load(Ordering::SeqCst), 1, "{error:?}");
        assert_eq!(
            error.to_string(),
            "call failed after 1 attempt: another attempt would fail in the same way"
        );
        let mut texts = vec![error.to_string()];
        let mut next = error::Error::source(&error);
        while let Some(error) = next {
            texts.push(error.to_string());
            next = error.source();
        }
        let text = texts.join(": ");
        assert!(text.contains(cause), "{text}");
    }
}
