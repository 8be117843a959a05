//! The verdicts on the errors of real clients, over loopback sockets.
#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    future::ready,
    io::{self, ErrorKind},
};

use bytes::Bytes;
use courteous_classify::HttpClassifier;
use courteous_core::{BoxError, Classify, Effect, Fault, Outcome, Verdict};
use http::{Request, Uri};
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connect, HttpConnector, proxy::Tunnel},
    },
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::service_fn;

const NEVER_SENT: Verdict = Verdict::transient(Effect::NeverSent, Fault::NoResponse);

fn verdict(error: impl Into<BoxError>) -> Verdict {
    HttpClassifier::new().classify(Outcome::error(&*error.into()))
}

/// What comes of a GET of `uri` over `connector`.
async fn over(connector: impl Connect + Clone + Send + Sync + 'static, uri: &str) -> Verdict {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::get(uri).body(Empty::new()).unwrap();
    verdict(client.request(request).await.unwrap_err())
}

/// What comes of a GET if a connector fails so.
async fn on_connect<E: Into<BoxError> + 'static>(error: fn() -> E) -> Verdict {
    let connector =
        service_fn(move |_: Uri| ready(Err::<TokioIo<TcpStream>, BoxError>(error().into())));
    over(connector, "http://localhost").await
}

#[tokio::test]
async fn a_connection_that_was_not_made_is_never_sent_unless_that_cannot_change() {
    let refused = || io::Error::from(ErrorKind::ConnectionRefused);
    assert_eq!(on_connect(refused).await, NEVER_SENT);
    let reset = || io::Error::other(io::Error::from(ErrorKind::ConnectionReset));
    assert_eq!(on_connect(reset).await, NEVER_SENT);
    assert_eq!(on_connect(|| "a connector's own").await, NEVER_SENT);
    let invalid = || io::Error::from(ErrorKind::InvalidInput);
    assert_eq!(on_connect(invalid).await, Verdict::Unsendable);
    assert_eq!(
        on_connect(|| "unsupported scheme http").await,
        Verdict::Unsendable
    );
}

#[tokio::test]
async fn a_request_that_the_client_cannot_send_is_unsendable() {
    for uri in ["/relative", "https://localhost", "ftp://localhost"] {
        let verdict = over(HttpConnector::new(), uri).await;
        assert_eq!(verdict, Verdict::Unsendable, "{uri}");
    }
}

/// A proxy that gives each connection this answer.
async fn proxy(answer: &'static str) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}").parse().unwrap()
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_will_want_them_again() {
    let required = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
    for (answer, expected) in [
        (required, Verdict::Unsendable),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", NEVER_SENT),
        ("", NEVER_SENT),
    ] {
        let tunnel = Tunnel::new(proxy(answer).await, HttpConnector::new());
        let verdict = over(tunnel, "http://api.example/").await;
        assert_eq!(verdict, expected, "{answer}");
    }
}

/// What one side of an HTTP/2 connection says, seen by the other.
async fn h2_error(reason: Option<h2::Reason>) -> h2::Error {
    let (near, far) = tokio::io::duplex(1 << 16);
    let server = async move {
        let mut connection = h2::server::handshake(far).await.unwrap();
        match reason {
            Some(reason) => {
                let (_, mut respond) = connection.accept().await.unwrap().unwrap();
                respond.send_reset(reason);
            }
            // Says that streams from now on are not taken.
            None => connection.graceful_shutdown(),
        }
        while connection.accept().await.is_some() {}
    };
    let client = async move {
        let (client, connection) = h2::client::handshake(near).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        loop {
            // Until the GOAWAY has arrived, a request may still be taken.
            let request = Request::get("http://localhost/").body(()).unwrap();
            let outcome = match client.send_request(request, true) {
                Ok((response, _)) => response.await.map(drop),
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) => return error,
                Ok(()) => client = client.ready().await.unwrap(),
            }
        }
    };
    tokio::spawn(server);
    client.await
}

#[tokio::test]
async fn what_http2_says_was_not_processed_is_never_sent() {
    let never_sent = Verdict::transient(Effect::NeverSent, Fault::Server);
    let refused = h2_error(Some(h2::Reason::REFUSED_STREAM)).await;
    assert_eq!(verdict(refused), never_sent);
    let gone = h2_error(None).await;
    assert!(gone.is_go_away(), "{gone:?}");
    assert_eq!(verdict(gone), never_sent);
}

#[tokio::test]
async fn any_other_reset_is_maybe_processed() {
    let maybe = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);
    for reason in [
        h2::Reason::CANCEL,
        h2::Reason::INTERNAL_ERROR,
        h2::Reason::ENHANCE_YOUR_CALM,
    ] {
        assert_eq!(verdict(h2_error(Some(reason)).await), maybe, "{reason:?}");
    }
    // Not the peer's word.
    let local = h2::Error::from(h2::Reason::REFUSED_STREAM);
    assert_eq!(verdict(local), maybe);
}
