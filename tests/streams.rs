//! Long exchanges: uploads, event streams, watches.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod net;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    response::sse::{Event, Sse},
    routing::get,
};
use bytes::Bytes;
use courteous::{
    AnyBody, BoxError, Courteous, Error, ServiceBuilder, ServiceBuilderExt, Stack,
    concurrency::ConcurrencyLimitLayer,
    core::{Elapsed, LongLived, Scope},
    retry::{NoRetry, RetryInfo, RetryLayer, StopReason},
    timeout::{AttemptTimeoutLayer, IdleTimeout},
};
use futures_util::stream;
use http::{Extensions, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::net::brisk_retry;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A body of unknown length: `frames` frames of 64 KiB, each 100 ms after the previous one.
fn slow(frames: usize) -> impl Body<Data = Bytes, Error = BoxError> + Send + 'static {
    StreamBody::new(stream::unfold(0, move |n| async move {
        if n == frames {
            return None;
        }
        sleep(100 * MS).await;
        let frame = Frame::data(Bytes::from(vec![0; 64 * 1024]));
        Some((Ok::<_, BoxError>(frame), n + 1))
    }))
}

/// A server that reads a whole body, and then answers. Also returns how many bytes the server has
/// seen in each attempt.
fn store<B>(
    seen: &Arc<[AtomicUsize; 3]>,
    refuse_first: bool,
) -> impl Service<
    Request<B>,
    Response = Response<AnyBody>,
    Error = BoxError,
    Future: Future<Output = Result<Response<AnyBody>, BoxError>> + Send,
> + Clone
+ use<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let (seen, attempts) = (Arc::clone(seen), Arc::new(AtomicUsize::new(0)));
    service_fn(move |request: Request<B>| {
        let seen = Arc::clone(&seen);
        let attempt = attempts.fetch_add(1, Ordering::Relaxed);
        async move {
            if refuse_first && attempt == 0 {
                let response = Response::builder().status(503);
                return Ok(response.body(AnyBody::empty())?);
            }
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                let bytes = frame.map_err(Into::into)?.into_data().unwrap_or_default();
                seen[attempt].fetch_add(bytes.len(), Ordering::Relaxed);
            }
            Ok(Response::new(AnyBody::from("stored")))
        }
    })
}

fn put<B>(body: B) -> Request<B> {
    Request::put("http://storage.example.test/o")
        .body(body)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_makes_progress_outlasts_the_attempt_timeout() {
    for extension in [None, Some(NoRetry)] {
        let seen = Arc::default();
        let client = Stack::new().build().unwrap().layer(store(&seen, false));
        let mut request = put(AnyBody::new(slow(150)));
        if let Some(no_retry) = extension {
            request.extensions_mut().insert(no_retry);
        }
        let start = Instant::now();
        let response = client.oneshot(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), start.elapsed()),
            (200, 15 * SECOND)
        );
        assert_eq!(seen[0].load(Ordering::Relaxed), 150 * 64 * 1024);
    }
}

#[tokio::test(start_paused = true)]
async fn the_upload_of_a_later_attempt_outlasts_the_attempt_timeout_as_well() {
    let seen = Arc::default();
    let client = Stack::new().build().unwrap().layer(store(&seen, true));
    let response = client.oneshot(put(AnyBody::new(slow(150)))).await.unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 2);
    assert_eq!(seen[1].load(Ordering::Relaxed), 150 * 64 * 1024);
}

#[tokio::test(start_paused = true)]
async fn bodies_of_other_libraries_outlast_the_attempt_timeout() {
    type Boxed = UnsyncBoxBody<Bytes, BoxError>;

    async fn sent<L, B, RB>(layer: L, body: B, seen: &Arc<[AtomicUsize; 3]>)
    where
        L: Layer<
                tower::util::BoxCloneService<Request<B>, Response<AnyBody>, BoxError>,
                Service: Service<Request<B>, Response = Response<RB>, Error = BoxError>,
            >,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let server = tower::util::BoxCloneService::new(store(seen, false));
        let response = layer.layer(server).oneshot(put(body)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(seen[0].load(Ordering::Relaxed), 150 * 64 * 1024);
    }

    let layer = |retry| {
        ServiceBuilder::new()
            .retry(retry)
            .attempt_timeout(10 * SECOND)
            .into_inner()
    };
    let retry = || layer(RetryLayer::new());
    sent(retry(), axum::body::Body::new(slow(150)), &Arc::default()).await;
    sent(retry(), tonic::body::Body::new(slow(150)), &Arc::default()).await;
    sent(retry(), reqwest::Body::wrap(slow(150)), &Arc::default()).await;
    let via = ServiceBuilder::new()
        .retry(RetryLayer::new().via(Boxed::new))
        .attempt_timeout(10 * SECOND)
        .into_inner();
    sent(via, Boxed::new(slow(150)), &Arc::default()).await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stalls_is_tried_again_after_the_timeout_of_silence() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let stalls = service_fn(move |request: Request<AnyBody>| {
        let attempt = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut body = request.into_body();
            body.frame().await.unwrap()?;
            if attempt == 0 {
                std::future::pending::<()>().await;
            }
            while let Some(frame) = body.frame().await {
                frame?;
            }
            Ok::<_, BoxError>(Response::new(AnyBody::empty()))
        }
    });
    let retry = brisk_retry().with_body_limit(1024 * 1024);
    let client = Stack::new()
        .with_retry(retry)
        .build()
        .unwrap()
        .layer(stalls);
    let start = Instant::now();
    let response = client.oneshot(put(AnyBody::new(slow(5)))).await.unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 2);
    let first = RetryInfo::of(&response).history().attempts()[0];
    assert_eq!(first.ended() - start, 100 * MS + 10 * SECOND);
}

/// One event each second, for `minutes`, and silence at the end.
fn events(minutes: usize) -> impl Body<Data = Bytes, Error = BoxError> + Send + 'static {
    StreamBody::new(stream::unfold(0, move |n| async move {
        if n == minutes * 60 {
            std::future::pending::<()>().await;
        }
        sleep(SECOND).await;
        let frame = Frame::data(Bytes::from_static(b"data: tick\n\n"));
        Some((Ok::<_, BoxError>(frame), n + 1))
    }))
}

fn watched() -> Request<AnyBody> {
    let request = Request::get("http://api.example.test/watch");
    request.body(AnyBody::empty()).unwrap()
}

/// Reads the frames of `body` until it fails. Returns their number and the timeout that ended the
/// body.
async fn read<B>(mut body: B) -> (usize, Elapsed)
where
    B: Body<Error = Error> + Unpin,
{
    let mut frames = 0;
    loop {
        match body.frame().await.unwrap() {
            Ok(_) => frames += 1,
            Err(error) => return (frames, *error.find::<Elapsed>().unwrap()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_minutes_goes_on_through_a_stack_for_streams_and_ends_with_its_silence() {
    let server = service_fn(async |request: Request<AnyBody>| {
        // A server would end the whole stream at the deadline of the attempt.
        assert!(!request.headers().contains_key("grpc-timeout"));
        Ok::<_, BoxError>(Response::new(AnyBody::new(events(10))))
    });
    let attempt = || AttemptTimeoutLayer::new(5 * SECOND).with_grpc_timeout();
    let idle = |timeout| Elapsed::new(timeout, Scope::Idle);

    let stack = Stack::new().streaming().with_attempt_timeout(attempt());
    let client = stack.clone().build().unwrap().layer(server);
    let response = client.oneshot(watched()).await.unwrap();
    assert_eq!(read(response.into_body()).await, (600, idle(60 * SECOND)));

    let stack = stack.with_attempt_timeout(attempt().with_idle_timeout(7 * SECOND));
    let client = stack.build().unwrap().layer(server);
    let response = client.oneshot(watched()).await.unwrap();
    assert_eq!(read(response.into_body()).await, (600, idle(7 * SECOND)));

    // In a stack for other calls, by request.
    let stack = Stack::new().with_attempt_timeout(attempt());
    let client = stack.build().unwrap().layer(server);
    let mut request = watched();
    request.extensions_mut().insert(LongLived);
    request.extensions_mut().insert(IdleTimeout(20 * SECOND));
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(read(response.into_body()).await, (600, idle(20 * SECOND)));
}

#[tokio::test(start_paused = true)]
async fn without_a_word_a_stack_ends_a_stream_at_its_total_timeout() {
    let server = service_fn(async |_: Request<AnyBody>| {
        Ok::<_, BoxError>(Response::new(AnyBody::new(events(10))))
    });
    let client = Stack::new().build().unwrap().layer(server);
    let response = client.oneshot(watched()).await.unwrap();
    let total = Elapsed::new(30 * SECOND, Scope::Total);
    assert_eq!(read(response.into_body()).await, (30, total));
}

#[tokio::test(start_paused = true)]
async fn a_stream_frees_its_permit_at_the_head() {
    let server = service_fn(async |_: Request<AnyBody>| {
        Ok::<_, BoxError>(Response::new(AnyBody::new(events(10))))
    });
    let one = || {
        let limit = ConcurrencyLimitLayer::per_origin(1).unwrap();
        Stack::new().with_concurrency_limit(limit.fail_fast())
    };
    let ask = async |stack: Stack, ask: fn(&mut Extensions)| {
        let client = stack.build().unwrap().layer(server);
        let mut request = watched();
        ask(request.extensions_mut());
        let stream = client.clone().oneshot(request).await.unwrap();
        let second = client.oneshot(watched()).await;
        drop(stream);
        second.map(|_| ()).map_err(|error| error.stop_reason())
    };
    assert_eq!(ask(one().streaming(), |_| {}).await, Ok(()));
    let long_lived = |extensions: &mut Extensions| {
        extensions.insert(LongLived);
    };
    assert_eq!(ask(one(), long_lived).await, Ok(()));
    let held = ask(one(), |_| {}).await;
    assert_eq!(held, Err(Some(StopReason::Rejected)));
}

type Http = Client<HttpConnector, AnyBody>;

/// A real server of events, one every 20 ms.
async fn server() -> String {
    let app = Router::new().route(
        "/events",
        get(async || {
            let events = stream::unfold(0_u64, |n| async move {
                sleep(20 * MS).await;
                let event = Event::default().id(n.to_string()).data("tick");
                Some((Ok::<_, Infallible>(event), n + 1))
            });
            Sse::new(events)
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}/events")
}

#[tokio::test]
async fn server_sent_events_outlast_all_timeouts_over_a_socket_and_hold_no_permit() {
    let uri = server().await;
    // Long enough for a response, even on a busy machine.
    let limit = 2 * SECOND;
    let one = ConcurrencyLimitLayer::per_origin(1).unwrap().fail_fast();
    let stack = Stack::new()
        .streaming()
        .with_total_timeout(limit)
        .with_attempt_timeout(AttemptTimeoutLayer::new(limit))
        .with_concurrency_limit(one);
    let client: Courteous<Http> = stack
        .build()
        .unwrap()
        .layer(Client::builder(TokioExecutor::new()).build_http());
    let get = || Request::get(&uri).body(AnyBody::empty()).unwrap();

    let start = Instant::now();
    let mut first = client.clone().oneshot(get()).await.unwrap().into_body();
    let mut second = client.oneshot(get()).await.unwrap().into_body();
    let mut after = 0;
    while after < 5 {
        let (one, two) = tokio::join!(first.frame(), second.frame());
        assert!(one.unwrap().unwrap().is_data() && two.unwrap().unwrap().is_data());
        after += usize::from(start.elapsed() > 3 * limit / 2);
    }
}
