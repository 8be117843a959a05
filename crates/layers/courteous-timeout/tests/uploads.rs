//! What an attempt timeout promises while the body of the request goes out.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{future::pending, num::NonZeroU64, time::Duration};

use bytes::Bytes;
use common::{MS, SECOND, elapsed};
use courteous_body::AnyBody;
use courteous_core::{BoxError, CallContext, Scope, Upload};
use courteous_timeout::{AttemptTimeoutLayer, Coverage, DeadlineBody, PerAttemptTimeout};
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

const FRAME: usize = 16 * 1024;

/// A body of unknown length: `frames` frames of `bytes` bytes, each `every` after the one before.
fn streamed(frames: u32, bytes: usize, every: Duration) -> AnyBody {
    let frames = stream::unfold(0, move |n| async move {
        if n == frames {
            return None;
        }
        sleep(every).await;
        let frame = Frame::data(Bytes::from(vec![0; bytes]));
        Some((Ok::<_, BoxError>(frame), n + 1))
    });
    AnyBody::new(StreamBody::new(frames))
}

/// Reads the whole body, and answers `late` after its end.
async fn store(request: Request<AnyBody>, late: Duration) -> Result<Response<AnyBody>, BoxError> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    sleep(late).await;
    Ok(Response::new(AnyBody::from("stored")))
}

/// The outcome of an upload of `body`, and how long it took.
async fn upload<L>(
    layer: L,
    body: AnyBody,
    late: Duration,
) -> (Result<(), (Duration, Scope)>, Duration)
where
    L: Layer<
            tower::util::BoxCloneService<Request<AnyBody>, Response<AnyBody>, BoxError>,
            Service: Service<
                Request<AnyBody>,
                Response = Response<DeadlineBody<AnyBody>>,
                Error = BoxError,
            >,
        >,
{
    let server = service_fn(move |request| store(request, late));
    let service = layer.layer(tower::util::BoxCloneService::new(server));
    let start = Instant::now();
    let result = service.oneshot(Request::new(body)).await;
    let result = result.map(|_| ()).map_err(|error| elapsed(&error));
    (result, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_makes_progress_is_not_cut_off_when_uploads_are_watched() {
    let layer = AttemptTimeoutLayer::new(SECOND).watching_uploads();
    let body = || streamed(150, FRAME, 100 * MS);
    let (result, took) = upload(layer, body(), 900 * MS).await;
    assert_eq!((result, took), (Ok(()), 15_900 * MS));
    // Unwatched, and without a length, it is not known to go on.
    let (result, took) = upload(AttemptTimeoutLayer::new(SECOND), body(), 900 * MS).await;
    assert_eq!((result, took), (Err((SECOND, Scope::Attempt)), SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_after_the_upload_has_the_timeout_from_its_last_frame_on() {
    let layer = AttemptTimeoutLayer::new(SECOND).watching_uploads();
    // The end of the body is seen together with its last frame.
    let (result, took) = upload(layer, streamed(20, FRAME, 100 * MS), 60 * SECOND).await;
    assert_eq!((result, took), (Err((SECOND, Scope::Attempt)), 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stalls_is_ended_after_the_timeout_of_silence() {
    let layer = AttemptTimeoutLayer::new(2 * SECOND).watching_uploads();
    let stalling = stream::unfold(0, |n| async move {
        sleep(if n < 8 { 500 * MS } else { 60 * SECOND }).await;
        let frame = Frame::data(Bytes::from(vec![0; FRAME]));
        Some((Ok::<_, BoxError>(frame), n + 1))
    });
    let body = AnyBody::new(StreamBody::new(stalling));
    let (result, took) = upload(layer, body, Duration::ZERO).await;
    assert_eq!(result, Err((2 * SECOND, Scope::Attempt)));
    assert_eq!(took, 4 * SECOND + 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_reading_is_ended_after_the_timeout_of_silence() {
    let layer = AttemptTimeoutLayer::new(SECOND).watching_uploads();
    let service = layer.layer(service_fn(async |request: Request<AnyBody>| {
        let mut body = request.into_body();
        for _ in 0..3 {
            body.frame().await.unwrap()?;
        }
        pending::<Result<Response<AnyBody>, BoxError>>().await
    }));
    let start = Instant::now();
    let error = service
        .oneshot(Request::new(streamed(100, FRAME, 800 * MS)))
        .await
        .unwrap_err();
    assert_eq!(elapsed(&error), (SECOND, Scope::Attempt));
    assert_eq!(start.elapsed(), 3 * 800 * MS + SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_call_ends_an_upload_that_makes_progress() {
    let layer = AttemptTimeoutLayer::new(SECOND).watching_uploads();
    let service = layer.layer(service_fn(|request| store(request, Duration::ZERO)));
    let mut request = Request::new(streamed(150, FRAME, 100 * MS));
    let start = Instant::now();
    CallContext::edit(request.extensions_mut()).tighten_to_end_of(5 * SECOND, start + 5 * SECOND);
    let error = service.oneshot(request).await.unwrap_err();
    assert_eq!(elapsed(&error), (5 * SECOND, Scope::Total));
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_body_in_memory_adds_the_time_of_its_transfer() {
    let body = || AnyBody::from(vec![0; 20 * 64 * 1024]);
    let layer = AttemptTimeoutLayer::new(SECOND);
    let silent = async |layer: AttemptTimeoutLayer, body: AnyBody| {
        let (result, took) = upload(layer, body, Duration::MAX / 2).await;
        assert_eq!(result, Err((took, Scope::Attempt)));
        took
    };
    assert_eq!(silent(layer.clone(), body()).await, 21 * SECOND);
    let small = AnyBody::from(vec![0; 64 * 1024]);
    assert_eq!(silent(layer.clone(), small).await, SECOND);
    let faster = NonZeroU64::new(10 * 64 * 1024).unwrap();
    let faster = layer.clone().with_least_upload_rate(faster);
    assert_eq!(silent(faster, body()).await, 3 * SECOND);
    assert_eq!(
        silent(layer.without_least_upload_rate(), body()).await,
        SECOND
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_of_a_stream_adds_the_time_of_its_transfer() {
    let layer = AttemptTimeoutLayer::new(SECOND).watching_uploads();
    let body = streamed(1, 4 * 64 * 1024, 500 * MS);
    let (result, took) = upload(layer, body, 60 * SECOND).await;
    assert_eq!(result, Err((5 * SECOND, Scope::Attempt)));
    assert_eq!(took, 5500 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_an_upload_of_its_own_is_not_wrapped_again() {
    let layer = AttemptTimeoutLayer::new(SECOND).watching_uploads();
    let service = layer.layer(service_fn(|request| store(request, Duration::ZERO)));
    let upload = Upload::new();
    let mut request = Request::new(streamed(30, FRAME, 100 * MS));
    request.extensions_mut().insert(upload.clone());
    request
        .extensions_mut()
        .insert(PerAttemptTimeout(2 * SECOND));
    let reporter = async {
        sleep(1500 * MS).await;
        upload.advance(1);
        pending::<()>().await;
    };
    tokio::select! {
        response = service.oneshot(request) => drop(response.unwrap()),
        () = reporter => {}
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_covers_the_body_goes_on_while_both_sides_send() {
    let layer = AttemptTimeoutLayer::new(SECOND)
        .with_coverage(Coverage::Body)
        .watching_uploads();
    // Answers at once, and reads and writes from then on.
    let service = layer.layer(service_fn(async |request: Request<AnyBody>| {
        Ok::<_, BoxError>(Response::new(request.into_body()))
    }));
    let request = Request::new(streamed(30, FRAME, 100 * MS));
    let response = service.oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes().len(), 30 * FRAME);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_in_memory_or_empty_are_not_wrapped() {
    let layer = AttemptTimeoutLayer::new(SECOND).watching_uploads();
    let client = service_fn(async |request: Request<Full<Bytes>>| {
        assert!(request.extensions().is_empty());
        Ok::<_, BoxError>(Response::new(Empty::<Bytes>::new()))
    });
    let body = Full::from(vec![0; 1024]);
    let response = layer.layer(client).oneshot(Request::new(body)).await;
    response.unwrap();
}
