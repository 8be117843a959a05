//! Calls by `send`: of a `Courteous` client, and of a `BoxClient`.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use courteous::{
    AnyBody, BoxClient, BoxError, Courteous, Error, Stack, client::BoxBody, retry::RetryInfo,
};
use courteous_testkit::{Probe, Reply};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceExt, service_fn};

/// Names `BoxError`.
type Unsync = UnsyncBoxBody<Bytes, BoxError>;

fn request() -> Request<Full<Bytes>> {
    let request = Request::get("http://api.test/");
    request.body(Full::from("payload")).unwrap()
}

fn stack<S>(client: S) -> Courteous<S> {
    Stack::new().build().unwrap().layer(client)
}

fn failing_once() -> Probe {
    Probe::new().replies([Reply::status(503), Reply::ok().body("a note")])
}

#[tokio::test(start_paused = true)]
async fn a_shared_client_sends_and_retries() {
    let probe = failing_once();
    let client = stack(probe.clone());
    let response = client.send(request()).await.unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 2);
    assert_eq!(probe.calls(), 2);
    drop(response);
    assert_eq!(client.closer().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_begins_with_the_first_poll_and_ends_with_the_drop() {
    let probe = Probe::new().otherwise(|_| Reply::never());
    let client = stack(probe.clone());
    let mut call = tokio_test::task::spawn(client.send(request()));
    assert_eq!((client.closer().in_flight(), probe.calls()), (0, 0));
    assert!(call.poll().is_pending());
    assert_eq!(client.closer().in_flight(), 1);
    // Its clients are ready when they are polled again.
    assert!(call.poll().is_pending());
    assert_eq!(probe.calls(), 1);
    drop(call);
    assert_eq!(client.closer().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_is_waited_for_within_the_total_timeout() {
    #[derive(Clone)]
    struct Never;

    impl Service<Request<Full<Bytes>>> for Never {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Full<Bytes>>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Pending
        }

        fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
            std::future::ready(Ok(Response::default()))
        }
    }

    let start = Instant::now();
    let error = stack(Never).send(request()).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert!(start.elapsed() <= Duration::from_secs(31));
    // Nothing of ours: the clone that is called was readied.
    let client = BoxClient::new(Never);
    let call = tokio::time::timeout(Duration::from_secs(1), client.send(request()));
    assert!(call.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_spawned_block_sends_bodies_that_name_the_boxed_error() {
    let echo =
        async |request: Request<Unsync>| Ok::<_, Infallible>(Response::new(request.into_body()));
    let client = stack(service_fn(echo));
    let block = async move {
        let request = Request::new(Full::from("hi").map_err(Into::into).boxed_unsync());
        let mut body = client.send(request).await?.into_body();
        // Not `collect`: its type has the bounds of a body that names `BoxError`, here a response's.
        let frame = body.frame().await.transpose()?;
        Ok::<_, Error>(frame.and_then(|frame| frame.into_data().ok()))
    };
    let sent = tokio::spawn(block).await.unwrap().unwrap();
    assert_eq!(sent.as_deref(), Some(&b"hi"[..]));

    let client = stack(service_fn(echo)).boxed();
    let block = async move {
        let response = client.send(Request::new(Unsync::default())).await?;
        Ok::<_, Error>(response.into_body().collect().await?.to_bytes())
    };
    assert_eq!(tokio::spawn(block).await.unwrap().unwrap(), "");
}

#[tokio::test]
async fn a_spawned_block_sends_by_hyper() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let unsync = stack(Client::builder(TokioExecutor::new()).build_http::<Unsync>());
    let any = stack(Client::builder(TokioExecutor::new()).build_http::<AnyBody>());
    let boxed: BoxClient = any.clone().boxed();
    let block = async move {
        let url = format!("http://{address}/");
        let request = Request::get(&url).extension(courteous::retry::NoRetry);
        let first = unsync.send(request.body(Unsync::default()).unwrap()).await;
        let request = Request::get(&url).extension(courteous::retry::NoRetry);
        let second = any.send(request.body(AnyBody::empty()).unwrap()).await;
        let request = Request::get(&url).extension(courteous::retry::NoRetry);
        let third = boxed.send(request.body(AnyBody::empty()).unwrap()).await;
        [first.is_err(), second.is_err(), third.is_err()]
    };
    assert_eq!(tokio::spawn(block).await.unwrap(), [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_boxed_client_retries_and_keeps_what_it_was_made_of() {
    let probe = failing_once();
    let client = stack(probe.clone());
    let boxed = client.clone().boxed();
    let response = boxed.send(request()).await.unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 2);
    // In flight to the end of the body, as without the box.
    assert_eq!(client.closer().in_flight(), 1);
    drop(response);
    assert_eq!(client.closer().in_flight(), 0);

    client.close(Instant::now()).await.unwrap();
    let error = boxed.clone().send(request()).await.unwrap_err();
    assert!(error.is_rejected());
    assert_eq!(error.to_string(), "call rejected before it was sent");
    // Not boxed in another one of its kind.
    assert!(error.find::<Error>().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_boxed_client_is_a_service() {
    let boxed = stack(Probe::new()).boxed();
    let response = boxed.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

/// What an application may look like.
#[derive(Clone)]
struct Notes {
    client: BoxClient<Full<Bytes>>,
}

impl Notes {
    async fn read(&self) -> Result<Bytes, Error> {
        Ok(self
            .client
            .send(request())
            .await?
            .into_body()
            .collect()
            .await?
            .to_bytes())
    }
}

#[tokio::test(start_paused = true)]
async fn a_mock_answers_fails_and_breaks_off() {
    let calls = Arc::new(AtomicUsize::new(0));
    let client = BoxClient::from_fn({
        let calls = calls.clone();
        move |request: Request<Full<Bytes>>| {
            assert_eq!(request.uri(), "http://api.test/");
            let call = calls.fetch_add(1, Ordering::Relaxed);
            async move {
                sleep(Duration::from_millis(1)).await;
                let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
                match call {
                    0 => Ok(Response::new(BoxBody::new(Full::from("a note")))),
                    1 => Err(reset()),
                    _ => {
                        let broken = futures_util::stream::iter([Err::<Frame<Bytes>, _>(reset())]);
                        Ok(Response::new(BoxBody::new(StreamBody::new(broken))))
                    }
                }
            }
        }
    });
    let notes = Notes { client };
    assert_eq!(notes.read().await.unwrap(), "a note");
    for _ in 0..2 {
        let error = tokio::spawn({
            let notes = notes.clone();
            async move { notes.read().await }
        });
        let error = error.await.unwrap().unwrap_err();
        let source = error.find::<io::Error>().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(error.to_string(), "call failed");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn a_boxed_client_is_two_words_and_tells_the_size_of_a_body() {
    assert_eq!(size_of::<BoxClient>(), 2 * size_of::<usize>());
    let body = BoxBody::new(Full::from("four"));
    assert_eq!(
        (body.size_hint().exact(), body.is_end_stream()),
        (Some(4), false)
    );
}

#[test]
fn a_sent_call_is_no_larger_than_what_it_is_made_of() {
    let client = stack(Probe::new());
    let mut called = client.clone();
    let [sent, made] = [
        size_of_val(&client.send(request())),
        size_of_val(&client) + size_of_val(&request()),
    ];
    let call = size_of_val(&called.call(request()));
    assert!(
        sent <= made.max(call) + 2 * size_of::<usize>(),
        "{sent} {made} {call}"
    );
}
