//! What is kept of calls that a real client could not send.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{future::ready, io};

use bytes::Bytes;
use courteous::{
    AnyBody, BoxError, find_cause, idempotency::IdempotencyKeyLayer, retry::RetryLayer,
};
use courteous_dead_letter::{
    DeadLetterLayer, DeadLettered, Letter, LetterStore, MemoryStore, Payload, Reason, Record,
    State, redrive,
};
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connect, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo},
};
use rustls::CertificateError;
use tokio::net::TcpStream;
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// Makes one POST with a retry, through a client with this connector. Returns the store and the
/// record.
async fn post<C>(connector: C, uri: &str, keyed: bool) -> (MemoryStore, Record)
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let store = MemoryStore::new();
    let client: Client<_, AnyBody> = Client::builder(TokioExecutor::new()).build(connector);
    let key = keyed.then(IdempotencyKeyLayer::new);
    let stack = ServiceBuilder::new()
        .option_layer(key)
        .layer(DeadLetterLayer::new(store.clone()))
        .layer(RetryLayer::new())
        .service(client);
    let request = Request::post(uri).body(AnyBody::from("amount=1")).unwrap();
    let error = stack.oneshot(request).await.map(drop).unwrap_err();
    let id = find_cause::<DeadLettered>(&*error).unwrap().id();
    let record = store.get(id).await.unwrap().unwrap();
    (store, record)
}

fn never_sent(letter: &Letter, keyed: bool) {
    assert_eq!(letter.failure.reason, Reason::Unsendable);
    assert!(!letter.failure.maybe_sent && letter.is_repeatable());
    assert_eq!(letter.key().is_some(), keyed);
    assert_eq!(letter.payload, Payload::Whole(Bytes::from("amount=1")));
}

#[tokio::test]
async fn a_call_whose_certificate_is_not_trusted_is_kept_and_sent_when_it_is() {
    let handshake = || {
        service_fn(|_: http::Uri| {
            let error = CertificateError::UnknownIssuer;
            let error = io::Error::other(rustls::Error::from(error));
            ready(Err::<TokioIo<TcpStream>, _>(error))
        })
    };
    for keyed in [true, false] {
        let (store, record) = post(handshake(), "http://api.test/charges", keyed).await;
        never_sent(&record.letter, keyed);

        let up = service_fn(async |request: Request<Full<Bytes>>| {
            Ok::<_, BoxError>(Response::new(request.into_body()))
        });
        assert_eq!(redrive(&store, up).await.unwrap().delivered, 1);
        let state = store.get(record.letter.id).await.unwrap().unwrap().state;
        assert!(matches!(state, State::Delivered { .. }));
    }
}

#[tokio::test]
async fn a_call_that_the_client_cannot_send_is_kept_and_says_why() {
    for (uri, why) in [
        (
            "https://127.0.0.1:1/charges",
            "invalid URL, scheme is not http",
        ),
        (
            "ftp://127.0.0.1:1/charges",
            "invalid URL, scheme is not http",
        ),
        ("/charges", "UserAbsoluteUriRequired"),
    ] {
        for keyed in [true, false] {
            let (_, record) = post(HttpConnector::new(), uri, keyed).await;
            never_sent(&record.letter, keyed);
            let error = record.letter.failure.last_error.unwrap();
            assert!(error.contains(why), "{uri}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_tls_handshake_is_cut_off_is_kept_as_one_that_was_not_sent() {
    let handshake = service_fn(|_: http::Uri| {
        let error = io::Error::from(io::ErrorKind::UnexpectedEof);
        ready(Err::<TokioIo<TcpStream>, _>(io::Error::other(error)))
    });
    let (_, record) = post(handshake, "http://api.test/charges", false).await;
    let failure = &record.letter.failure;
    assert_eq!((failure.reason, failure.attempts), (Reason::Attempts, 3));
    assert!(!failure.maybe_sent && record.letter.is_repeatable());
}
