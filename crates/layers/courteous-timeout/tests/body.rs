//! What the deadline of a response's body promises.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use common::{Bytes, Drip, MS, SECOND, elapsed, request};
use courteous_core::{BoxError, Scope};
use courteous_timeout::{Coverage, DeadlineBody, TotalTimeoutLayer};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};

const DOT: Bytes = b".";
const CHECKSUM: HeaderName = HeaderName::from_static("checksum");

/// `body`, as it comes through `layer`, after `head`.
async fn through<B>(layer: TotalTimeoutLayer, head: Duration, body: B) -> DeadlineBody<B>
where
    B: Body<Error: Into<BoxError>>,
{
    let body = std::sync::Mutex::new(Some(body));
    let service = layer.layer(service_fn(async |_| {
        sleep(head).await;
        let body = body.lock().unwrap().take().unwrap();
        Ok::<_, BoxError>(Response::new(body))
    }));
    service.oneshot(request()).await.unwrap().into_body()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_fails_at_exactly_the_deadline() {
    let start = Instant::now();
    let layer = TotalTimeoutLayer::new(5500 * MS);
    let mut body = through(layer, 3 * SECOND, Drip::each_second(60)).await;
    for _ in 3..=5 {
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            DOT
        );
    }
    // The drops of the seconds 1 to 3 were here with the head.
    for _ in 1..3 {
        body.frame().await.unwrap().unwrap();
    }
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(elapsed(&error), (5500 * MS, Scope::Total));
    assert_eq!(start.elapsed(), 5500 * MS);
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none(), "an error is the end");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_in_time_is_whole() {
    let mut trailers = HeaderMap::new();
    trailers.insert(CHECKSUM, HeaderValue::from_static("42"));
    let body = Drip::new([
        (SECOND, Frame::data(DOT)),
        (2 * SECOND, Frame::data(DOT)),
        (3 * SECOND, Frame::trailers(trailers)),
    ]);
    let layer = TotalTimeoutLayer::new(3 * SECOND);
    let body = through(layer, Duration::ZERO, body).await;
    let body = body.collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()[CHECKSUM], "42");
    assert_eq!(body.to_bytes(), "..");
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_is_handed_over_also_after_the_deadline() {
    let layer = TotalTimeoutLayer::new(SECOND);
    let body = through(layer, Duration::ZERO, Full::new(DOT)).await;
    sleep(60 * SECOND).await;
    assert_eq!(body.collect().await.unwrap().to_bytes(), DOT);
}

#[tokio::test(start_paused = true)]
async fn the_body_is_free_of_the_deadline_by_choice() {
    let layer = TotalTimeoutLayer::new(SECOND).with_coverage(Coverage::Headers);
    let body = through(layer, 999 * MS, Drip::each_second(60)).await;
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn the_inner_body_is_let_go_when_the_deadline_strikes() {
    let drip = Drip::each_second(2);
    let alive = drip.alive.clone();
    let mut body = through(TotalTimeoutLayer::new(500 * MS), Duration::ZERO, drip).await;
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(body.size_hint().exact(), Some(0));
    drop(body);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_ended_wakes_nobody() {
    let drip = Drip::new([(500 * MS, Frame::data(DOT))]);
    let body = through(TotalTimeoutLayer::new(SECOND), Duration::ZERO, drip).await;
    let mut body = task::spawn(body);
    assert_pending!(body.enter(|cx, body| body.poll_frame(cx)));
    sleep(500 * MS).await;
    assert!(body.is_woken());
    let frame = assert_ready!(body.enter(|cx, body| body.poll_frame(cx)));
    assert!(frame.unwrap().is_ok());
    // It was the last frame. The caller asks for no other, and no timer waits for that.
    sleep(SECOND).await;
    assert!(!body.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_dropped_wakes_nobody() {
    let drip = Drip::each_second(60);
    let body = through(TotalTimeoutLayer::new(SECOND), Duration::ZERO, drip).await;
    let mut bodies = task::spawn(vec![body]);
    assert_pending!(bodies.enter(|cx, mut bodies| Pin::new(&mut bodies[0]).poll_frame(cx)));
    bodies.enter(|_, mut bodies| bodies.clear());
    sleep(2 * SECOND).await;
    assert!(!bodies.is_woken());
}

#[test]
fn an_ended_body_needs_no_timer_and_so_no_runtime() {
    let layer = TotalTimeoutLayer::new(SECOND);
    let service = layer.layer(service_fn(async |_| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let mut call = task::spawn(service.oneshot(request()));
    let body = assert_ready!(call.poll()).unwrap().into_body();
    assert!(body.is_end_stream());
    let mut reading = task::spawn(body.collect());
    assert!(assert_ready!(reading.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn its_length_is_the_inner_bodys() {
    let layer = TotalTimeoutLayer::new(SECOND);
    let body = through(layer, Duration::ZERO, Full::new(DOT)).await;
    assert_eq!(body.size_hint().exact(), Some(1));
    assert!(!body.is_end_stream());
    let body = DeadlineBody::<Full<Bytes>>::default();
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_body_comes_through_as_it_is() {
    struct Broken;
    impl Body for Broken {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Ready(Some(Err(std::io::ErrorKind::BrokenPipe.into())))
        }
    }
    let mut body = through(TotalTimeoutLayer::new(SECOND), Duration::ZERO, Broken).await;
    let error = body.frame().await.unwrap().unwrap_err();
    let error = error.downcast::<std::io::Error>().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}
